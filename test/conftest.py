"""Its folder is on the path for this file's sake: it has what tests of several parts share."""
