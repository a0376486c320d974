#!/bin/sh
# Writes b.csv: how much rain fell on some stations. Not sorted, and not quite the same ones.
set -eu
folder=${OUT:-demo/join}
mkdir -p "$folder"
cat >"$folder/b.csv" <<END
station,rain
rome,12
lima,1
nice,31
oslo,58
END
