"""selfhood beside the tools that people use for the same job, each as a command of its own.

rows.py          the training rows, in a file that every tool reads
tool.py          what is known of a tool: its command line, and how its log is read
selfhood.py, ms_swift.py, trl.py
environment.py   a virtual environment a tool, made once
race.py          one command, watched from outside: when each update was logged, seconds, memory
findings.py      what commands took, and tables of it
contest.py       the tools in turns, and a page about it
page.py          what a page says of machine, versions, commands and aims
"""
