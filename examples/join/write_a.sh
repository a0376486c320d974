#!/bin/sh
# Writes a.csv: what the thermometers of some stations say. Not sorted, as it comes.
set -eu
folder=${OUT:-demo/join}
mkdir -p "$folder"
cat >"$folder/a.csv" <<END
station,temperature
oslo,4.5
rome,17.5
bern,9.1
nice,16.2
END
