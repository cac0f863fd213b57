"""Who answers, and what else has changed: probes, verdicts, the scorecard."""
