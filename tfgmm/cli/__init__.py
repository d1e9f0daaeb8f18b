"""The command line: reads options, calls the functions of ``tfgmm``, and prints results.

app                  the command ``tfgmm`` with all subcommands
console              tables and progress bars on the terminal
options              options that several commands have in common
configuration        options of a command from a file in TOML
train_options        options of tfgmm train, in panels
data_commands        tfgmm import | fetch | simulate | describe | export-table
study_file           the file of a study: runs as tables of options of tfgmm train
study_commands       tfgmm study
run_commands         tfgmm train | upgrade | evaluate | report | effects | show | check | site-amp
prediction_commands  tfgmm predict | export | serve | query
"""
