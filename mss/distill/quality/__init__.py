"""How good is a separation, judged without references: scores, and whether they can be trusted."""
