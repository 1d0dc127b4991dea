#include "node/disk_speed.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstdlib>

#include "base/log.h"
#include "base/units.h"
#include "sys/files.h"
#include "sys/system.h"

namespace exo::node {
namespace {

constexpr Time kMeasuredTime = std::chrono::milliseconds(500);
// As a stage reads its windows.
constexpr uint64_t kPiece = 2 * kMiB;

std::string KeyOf(const std::string& path) {
  const std::string canonical = sys::CanonicalPath(path);
  return "disk/1/" + canonical.substr(0, canonical.rfind('/'));
}

}  // namespace

std::optional<double> KnownDiskSpeed(const std::string& path, store::State& state) {
  const auto known = state.Get(KeyOf(path));
  const double gbps = known ? std::strtod(known->c_str(), nullptr) : 0;
  return gbps > 0 ? std::optional(gbps) : std::nullopt;
}

Result<double> MeasureDiskSpeed(const std::string& path, store::State& state) {
  const auto file = TRY(sys::RealDisk().Open(path));
  const uint64_t size = file->stamp().bytes;
  if (size < kLeastMeasuredBytes) {
    return Fail(ErrorCode::kInvalid, "{} has {}, less than {}: too little to measure a disk by",
                path, FormatSize(size), FormatSize(kLeastMeasuredBytes));
  }
  sys::AlignedBytes buffer;
  const Time start = sys::Now();
  Time spent{};
  uint64_t read = 0;
  while (read < size && spent < kMeasuredTime) {
    const uint64_t piece = std::min(kPiece, size - read);
    TRY(file->ReadUncached(read, piece, buffer));
    read += piece;
    spent = sys::Now() - start;
  }
  const double gbps =
      static_cast<double>(read) * 1e-9 / std::chrono::duration<double>(spent).count();
  // A disk that is full costs a measurement at the next start, not this one's result.
  if (const auto saved = state.Set(KeyOf(path), fmt::format("{}", gbps)); !saved)
    LOG(kWarning, "the disk's measured speed is not remembered: {}", saved.error().message);
  return gbps;
}

}  // namespace exo::node
