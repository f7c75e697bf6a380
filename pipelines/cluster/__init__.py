"""What a run needs to know of the cluster it runs on."""
