# Joins a.csv and b.csv by station: the ones that both have, in order, as combined.csv.
folder <- Sys.getenv("OUT", "demo/join")
a <- read.csv(file.path(folder, "a.csv"))
b <- read.csv(file.path(folder, "b.csv"))
combined <- merge(a, b, by = "station")
write.csv(combined, file.path(folder, "combined.csv"), quote = FALSE, row.names = FALSE)
