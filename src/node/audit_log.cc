#include "node/audit_log.h"

#include <algorithm>
#include <nlohmann/json.hpp>
#include <utility>

#include "base/log.h"
#include "base/sha256.h"
#include "sys/files.h"
#include "sys/system.h"

namespace exo::node {
namespace {

using nlohmann::json;

const std::string kNoHash(64, '0');

std::string PathIn(const std::string& folder) {
  return folder + "/audit.log";
}

// Keys of an object are sorted, so the text is the same however it was made.
std::string HashOfLine(const json& line) {
  json bare = line;
  bare.erase("hash");
  const std::string text = bare.dump(-1, ' ', true, json::error_handler_t::replace);
  return Sha256Of(std::as_bytes(std::span(text))).Hex();
}

std::string LineOf(const AuditEntry& entry, const std::string& previous) {
  json line = {{"time", entry.time},
               {"event", entry.event},
               {"device", entry.device.IsZero() ? "" : entry.device.Hex()},
               {"name", entry.name},
               {"detail", entry.detail},
               {"previous", previous}};
  line["hash"] = HashOfLine(line);
  return line.dump(-1, ' ', true, json::error_handler_t::replace);
}

std::vector<std::string_view> LinesOf(std::string_view text) {
  std::vector<std::string_view> lines;
  size_t begin = 0;
  while (begin < text.size()) {
    const size_t end = std::min(text.find('\n', begin), text.size());
    lines.push_back(text.substr(begin, end - begin));
    begin = end + 1;
  }
  return lines;
}

// Bytes behind the last whole line. What is written in one piece and cut is no JSON; a last line
// that is, is one that somebody has written, with or without its end.
size_t TornBytes(std::string_view text) {
  const size_t end = text.rfind('\n');
  const std::string_view last = text.substr(end == text.npos ? 0 : end + 1);
  return json::parse(last, nullptr, false).is_object() ? 0 : last.size();
}

// What the next line is chained to. A last line that cannot be read is chained to as it is: Read
// finds it.
std::string LastHash(std::string_view text) {
  const std::vector<std::string_view> lines = LinesOf(text);
  if (lines.empty()) return kNoHash;
  const json last = json::parse(lines.back(), nullptr, false);
  const auto hash = last.is_object() ? last.find("hash") : last.end();
  return hash != last.end() && hash->is_string() ? hash->get<std::string>() : kNoHash;
}

Result<std::string> WholeLog(const std::string& folder) {
  if (!sys::NameExists(PathIn(folder))) return std::string();
  return sys::ReadPlainFile(PathIn(folder));
}

// Writes the log anew without its torn line; what is left, with a line that says so.
Result<std::string> CutTorn(const std::string& folder, std::string text, size_t torn) {
  LOG(kWarning,
      "{}: the last line was torn, as by a power cut: its {} bytes are cut off, and what it said "
      "is "
      "lost",
      PathIn(folder), torn);
  text.resize(text.size() - torn);
  text += LineOf({.event = "torn line cut off",
                  .detail = fmt::format("{} bytes, as of a power cut", torn),
                  .time = sys::WallClockSeconds()},
                 LastHash(text)) +
          "\n";
  TRY(sys::WriteFileAtomically(PathIn(folder), text, 0600));
  return text;
}

Result<void> Append(const std::string& folder, const std::deque<AuditEntry>& entries) {
  std::string before = TRY(WholeLog(folder));
  if (const size_t torn = TornBytes(before); torn > 0)
    before = TRY(CutTorn(folder, std::move(before), torn));
  std::string previous = LastHash(before);
  std::string text = before.empty() || before.ends_with('\n') ? "" : "\n";
  for (const AuditEntry& entry : entries) {
    text += LineOf(entry, previous) + "\n";
    previous = LastHash(text);
  }
  return sys::AppendToFile(PathIn(folder), text, 0600);
}

void SayLost(const Result<void>& written) {
  if (!written) LOG(kError, "the audit log was not written: {}", written.error().message);
}

}  // namespace

void AuditLog::Add(AuditEntry entry) {
  entry.time = sys::WallClockSeconds();
  LOG(kInfo, "{}{}{}{}", entry.device.IsZero() ? "" : "peer=" + entry.device.Short() + ": ",
      entry.event, entry.detail.empty() ? "" : ": ", entry.detail);
  queue_.push_back(std::move(entry));
  Write();
}

// One job at a time: the order of the lines is that of the calls.
void AuditLog::Write() {
  if (writing_ || queue_.empty()) return;
  const auto append = [folder = folder_, entries = queue_](const std::atomic<bool>&) {
    return Append(folder, entries);
  };
  const size_t count = queue_.size();
  writing_ = jobs_.Run(Jobs::Class::kIo, {}, append, [this, count](const Result<void>& written) {
    writing_ = false;
    queue_.erase(queue_.begin(), queue_.begin() + static_cast<std::ptrdiff_t>(count));
    SayLost(written);
    Write();
  });
  if (!writing_) LOG(kError, "the audit log was not written yet: files are busy");
}

void AuditLog::Flush() {
  if (!queue_.empty() && !writing_) SayLost(Append(folder_, queue_));
}

Result<AuditTrail> AuditLog::Read(const std::string& folder) {
  const std::string log = TRY(WholeLog(folder));
  AuditTrail trail{.entries = {}, .torn_bytes = TornBytes(log)};
  std::vector<AuditEntry>& entries = trail.entries;
  std::string previous = kNoHash;
  const auto whole = std::string_view(log).substr(0, log.size() - trail.torn_bytes);
  for (const std::string_view text : LinesOf(whole)) {
    const json line = json::parse(text, nullptr, false);
    const auto field = [&](const char* key) {
      const auto at = line.find(key);
      return at != line.end() && at->is_string() ? at->get<std::string>() : std::string();
    };
    if (!line.is_object() || field("previous") != previous || field("hash") != HashOfLine(line)) {
      return Fail(ErrorCode::kCorrupt,
                  "{}: line {} is not as it was written, or one before it is gone: somebody or a "
                  "failing disk has changed the file",
                  PathIn(folder), entries.size() + 1);
    }
    previous = field("hash");
    const auto time = line.find("time");
    entries.push_back(
        {.event = field("event"),
         .device = NodeId::FromHex(field("device")).value_or(NodeId{}),
         .name = field("name"),
         .detail = field("detail"),
         .time = time != line.end() && time->is_number_integer() ? time->get<int64_t>() : 0});
  }
  return trail;
}

}  // namespace exo::node
