"""How right the stages are on marked data: a module a stage, each with `measure`."""
