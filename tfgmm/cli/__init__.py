"""The command line: parses and prints.

app                  the command line
console              tables and progress on the terminal
options              options that several commands have
data_commands        tfgmm import | fetch | simulate | describe | export-table
run_commands         tfgmm train | upgrade | evaluate | report | effects | check | site-amp
prediction_commands  tfgmm predict | export | serve | query
"""
