# Writes a.csv: what the thermometers of some stations say. Not sorted, as it comes.
folder <- Sys.getenv("OUT", "demo/join")
dir.create(folder, showWarnings = FALSE, recursive = TRUE)
readings <- data.frame(
  station = c("oslo", "rome", "bern", "nice"),
  temperature = c(4.5, 17.5, 9.1, 16.2)
)
write.csv(readings, file.path(folder, "a.csv"), quote = FALSE, row.names = FALSE)
