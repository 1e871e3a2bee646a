"""Whether to build a model at all: compute, hours, money, energy, memory, against using one."""
