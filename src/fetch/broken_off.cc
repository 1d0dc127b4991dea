#include "fetch/broken_off.h"

#include <string_view>

#include "base/log.h"
#include "base/units.h"
#include "sys/files.h"
#include "sys/part_file.h"

namespace exo::fetch {
namespace {

constexpr int64_t kKeptSeconds = int64_t{7} * 24 * 3600;
constexpr std::string_view kPart = ".part";

// Only names that downloads of this program have: the hub's cache is shared with other programs.
bool IsPartName(std::string_view name) {
  if (!name.ends_with(kPart)) return false;
  name.remove_suffix(kPart.size());
  for (const std::string_view kind : {"sha256-", "url-"})
    if (name.starts_with(kind)) name.remove_prefix(kind.size());
  return name.size() == 64 && name.find_first_not_of("0123456789abcdef") == name.npos;
}

void FindIn(const std::string& folder, std::vector<BrokenOff>& found) {
  for (const std::string& name : sys::ListFolder(folder)) {
    if (!IsPartName(name)) continue;
    const std::string path = folder + "/" + name;
    const auto stamp = sys::RealDisk().Look(path);
    if (stamp) found.push_back({path, stamp->bytes, stamp->modified_ns / 1'000'000'000});
  }
}

}  // namespace

std::vector<BrokenOff> FindBrokenOff(const Sources& sources) {
  std::vector<BrokenOff> found;
  FindIn(sources.folder + "/blobs", found);
  for (const std::string& repository : sys::ListFolder(sources.hub_folder)) {
    if (repository.starts_with("models--"))
      FindIn(fmt::format("{}/{}/blobs", sources.hub_folder, repository), found);
  }
  return found;
}

Result<void> RemoveBrokenOff(const std::string& path) {
  const auto part = TRY(sys::PartFile::Open(path));  // nobody else has it
  part->Discard();
  if (const std::string note = path + ".json"; sys::NameExists(note)) TRY(sys::RemoveFile(note));
  return {};
}

void RemoveOldBrokenOff(const Sources& sources, int64_t now) {
  for (const BrokenOff& part : FindBrokenOff(sources)) {
    if (now - part.modified < kKeptSeconds) continue;
    if (const auto removed = RemoveBrokenOff(part.path); !removed) {
      LOG(kWarning, "a download that was broken off stays: {}", removed.error().message);
      continue;
    }
    LOG(kInfo, "{} ({}) was broken off more than a week ago, and is deleted", part.path,
        FormatSize(part.bytes));
  }
}

}  // namespace exo::fetch
