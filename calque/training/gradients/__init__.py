"""Where the gradient of an update is computed: in this process or in forked ones."""
