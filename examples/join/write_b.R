# Writes b.csv: how much rain fell on some stations. Not sorted, and not quite the same ones.
folder <- Sys.getenv("OUT", "demo/join")
dir.create(folder, showWarnings = FALSE, recursive = TRUE)
readings <- data.frame(
  station = c("rome", "lima", "nice", "oslo"),
  rain = c(12L, 1L, 31L, 58L)
)
write.csv(readings, file.path(folder, "b.csv"), quote = FALSE, row.names = FALSE)
