"""Every figure that README quotes comes from `python -m bench`: medians, ratios within one run, peers beside us."""
