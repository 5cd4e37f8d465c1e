"""ImageBind and CLAP."""
