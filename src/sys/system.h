// What this machine has: memory (with cgroup limits), processors, this process's own use, folders.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "base/units.h"

namespace exo::sys {

struct MemoryInfo {
  uint64_t total = 0;      // of the machine, or its cgroup's limit when that is lower
  uint64_t available = 0;  // what can be taken now without swapping, within the cgroup's limit
};
// `root` is "/" except in tests (fake /proc and /sys trees).
MemoryInfo ReadMemory(const std::string& root = "/");

// Processors this process may run on, at least 1 (affinity and cgroup quota counted).
unsigned UsableCores();
uint64_t ResidentBytes();
uint64_t PeakResidentBytes();
uint64_t AnonymousBytes();  // resident memory that is not a file's pages

// The calling thread runs when others have nothing to do, nearly.
void LowerThreadPriority();

// Seconds of processor time of this process, and of the calling thread, so far.
double ProcessCpuSeconds();
double ThreadCpuSeconds();

std::string HostName();
// "AMD EPYC 9B14"; "unknown" where the system does not say.
std::string ProcessorName();
// $HOME; empty when it is not set.
std::string HomeFolder();
// Of all environment variables.
std::vector<std::string> EnvironmentNames();
// $EXO_HOME, else $XDG_DATA_HOME/exo, else ~/.local/share/exo.
std::string DataFolder();
// $EXO_HOME/cache, else $XDG_CACHE_HOME/exo, else ~/.cache/exo.
std::string CacheFolder();

// Monotonic time since an arbitrary start, suspend included.
Time Now();
// Since 1970, for display only.
int64_t WallClockSeconds();
int64_t WallClockMilliseconds();
// The same shifted by this machine's time zone: gmtime of it is local time.
int64_t LocalSeconds();

}  // namespace exo::sys
