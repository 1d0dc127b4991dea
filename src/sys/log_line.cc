#include "sys/log_line.h"

#include <fmt/format.h>

#include <algorithm>

#include "base/text.h"

namespace exo::sys {
namespace {

// `text`, which Printable has made, as a JSON string of at most `limit` bytes: cut between
// characters.
std::string Quoted(std::string_view text, size_t limit) {
  std::string out = "\"";
  const auto is_inside = [&](size_t at) {
    return at < text.size() && (static_cast<uint8_t>(text[at]) & 0xC0) == 0x80;
  };
  for (size_t at = 0; at < text.size();) {
    size_t end = at + 1;
    while (is_inside(end)) ++end;
    const bool escaped = text[at] == '"' || text[at] == '\\';
    if (out.size() + (end - at) + escaped + 1 > limit) break;
    if (escaped) out += '\\';
    out += text.substr(at, end - at);
    at = end;
  }
  return out + '"';
}

// What lines begin with: see SubjectOf of node/event_log.cc.
constexpr std::string_view kSubjects[] = {"request", "plan", "peer"};

// The value of "KEY=VALUE" at the front of a text; empty: something else stands there.
std::string_view SubjectAtFront(std::string_view text, std::string_view key) {
  if (!text.starts_with(key) || text.size() <= key.size() || text[key.size()] != '=') return "";
  text.remove_prefix(key.size() + 1);
  const size_t end = text.find_first_not_of("0123456789abcdef");
  return text.substr(0, end);
}

}  // namespace

const char* LogLevelName(LogLevel level) {
  static constexpr const char* kNames[] = {"debug", "info", "warning", "error", ""};
  return kNames[static_cast<size_t>(level)];
}

std::string TextLogLine(const LogEntry& entry) {
  std::string line = fmt::format("{} {} {}: {}", entry.time, LogLevelName(entry.level), entry.node,
                                 Printable(entry.text));
  if (line.size() >= kMaxLogLine) line.resize(kMaxLogLine - 1);
  return line;
}

std::string JsonLogLine(const LogEntry& entry) {
  const std::string text = Printable(entry.text);
  std::string line = fmt::format(R"({{"time":"{}","level":"{}","node":{})", entry.time,
                                 LogLevelName(entry.level), Quoted(Printable(entry.node), 512));
  for (const std::string_view key : kSubjects) {
    if (const std::string_view value = SubjectAtFront(text, key); !value.empty())
      line += fmt::format(R"(,"{}":"{}")", key, value.substr(0, 64));
  }
  line += R"(,"text":)";
  return line + Quoted(text, kMaxLogLine - line.size() - 2) + '}';
}

}  // namespace exo::sys
