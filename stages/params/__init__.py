"""The schema of params.yaml: what a value may be; nothing here alters one."""
