#!/bin/sh
# Joins a.csv and b.csv by their first column: the stations that both have, in order, as combined.csv.
set -eu
LC_ALL=C # join wants the order that sort made, whatever the language
export LC_ALL
cd "${OUT:-demo/join}"

read -r header_of_a <a.csv
read -r header_of_b <b.csv
tail -n +2 a.csv | sort -t , -k 1,1 >a.sorted
tail -n +2 b.csv | sort -t , -k 1,1 >b.sorted
{
    echo "$header_of_a,${header_of_b#*,}"
    join -t , a.sorted b.sorted
} >combined.csv
rm a.sorted b.sorted
