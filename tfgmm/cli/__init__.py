"""The command line: parses and prints.

app                  the command line
console              tables and progress on the terminal
fetch_commands       tfgmm fetch ...
import_commands      tfgmm import ...
options              options of the command line
prediction_commands  tfgmm predict | export | serve | query
site_amp_commands    tfgmm site-amp
"""
