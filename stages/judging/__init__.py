"""Networks that score clips and never condition one."""
