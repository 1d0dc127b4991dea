#include "node/download_space.h"

#include <fmt/format.h>

#include <algorithm>
#include <utility>

#include "base/log.h"
#include "base/units.h"
#include "fetch/broken_off.h"
#include "sys/files.h"
#include "sys/links.h"
#include "sys/system.h"

namespace exo::node {
namespace {

uint64_t BytesOfDownload(const fetch::PulledFile& file) {
  uint64_t bytes = 0;
  for (const std::string& path : file.owned) {
    const auto stamp = sys::RealDisk().Look(path);
    if (stamp && sys::LinkTarget(path).empty()) bytes += stamp->bytes;
  }
  return bytes;
}

std::string NamesOfThoseThatStay(const RoomRequest& request) {
  std::string names;
  for (const StoredDownload& one : request.stored) {
    if (one.stays.empty() || one.bytes == 0) continue;
    names += fmt::format("{}{} ({}) {}", names.empty() ? "" : ", ", one.name, FormatSize(one.bytes),
                         one.stays);
  }
  return names;
}

}  // namespace

Result<std::vector<StoredDownload>> PlanRoom(const RoomRequest& request, uint64_t parts) {
  uint64_t kept = request.coming, may_go = parts;
  std::vector<StoredDownload> idle;
  for (const StoredDownload& one : request.stored) {
    (one.stays.empty() ? may_go : kept) += one.bytes;
    if (one.stays.empty() && one.bytes > 0) idle.push_back(one);
  }
  if (request.limit == 0) return std::vector<StoredDownload>();
  if (request.needed > request.limit || kept > request.limit - request.needed) {
    const std::string names = NamesOfThoseThatStay(request);
    return Fail(
        ErrorCode::kOverloaded,
        "{} needs {}, and downloads may take {} here (the setting download_space): {} stay{}, {} "
        "are coming and {} could go; raise the setting{}",
        request.name, FormatSize(request.needed), FormatSize(request.limit),
        FormatSize(kept - request.coming), names.empty() ? "" : " (" + names + ")",
        FormatSize(request.coming), FormatSize(may_go),
        names.empty() ? "" : ", or stop one of these models");
  }
  std::ranges::sort(idle, {},
                    [](const StoredDownload& one) { return std::pair(one.used, one.name); });
  std::vector<StoredDownload> go;
  uint64_t taken = kept + may_go - parts;
  for (const StoredDownload& one : idle) {
    if (taken <= request.limit - request.needed) break;
    taken -= one.bytes;
    go.push_back(one);
  }
  return go;
}

Result<std::vector<StoredDownload>> MakeRoom(const fetch::Sources& sources, RoomRequest request) {
  fetch::RemoveOldBrokenOff(sources, sys::WallClockSeconds());
  std::vector<fetch::BrokenOff> parts = fetch::FindBrokenOff(sources);
  std::erase_if(parts, [&](const fetch::BrokenOff& part) {
    return std::ranges::find(request.running, part.path) != request.running.end();
  });
  uint64_t taken = request.needed + request.coming, part_bytes = 0;
  for (StoredDownload& one : request.stored) taken += one.bytes = BytesOfDownload(one.file);
  for (const fetch::BrokenOff& part : parts) part_bytes += part.bytes;
  const std::vector<StoredDownload> go = TRY(PlanRoom(request, part_bytes));
  std::ranges::sort(parts, {}, &fetch::BrokenOff::modified);
  taken += part_bytes;
  for (const fetch::BrokenOff& part : parts) {
    if (request.limit == 0 || taken <= request.limit) break;
    TRY(fetch::RemoveBrokenOff(part.path));
    taken -= part.bytes;
  }
  for (const StoredDownload& one : go) {
    if (auto gone = fetch::Forget(sources, one.file);
        !gone && gone.error().code != ErrorCode::kNotFound)
      return std::unexpected(gone.error());
    LOG(kInfo, "{} ({}) made room for {}", one.name, FormatSize(one.bytes), request.name);
  }
  return go;
}

}  // namespace exo::node
