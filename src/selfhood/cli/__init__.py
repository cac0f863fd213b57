"""The command line: argv -> a verb of ``selfhood.api``, and errors as one line."""
