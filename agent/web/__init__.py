"""The collector: where other hosts' records arrive. Third floor; needs the extra `holter[web]`."""
