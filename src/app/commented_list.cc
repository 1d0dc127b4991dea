#include "app/commented_list.h"

#include <fmt/format.h>

#include <algorithm>

#include "base/check.h"

namespace exo::app {
namespace {

// The comments between two values: the one behind the first, and those on lines of their own.
struct Comments {
  std::string behind;
  std::vector<std::string> lines;
};
// `text` holds spaces, line ends, a comma and comments, each of which ends with its line.
Comments ReadComments(const std::string& text) {
  Comments comments;
  for (size_t at = 0, line = 0; at < text.size(); ++line) {
    const size_t end = std::min(text.find('\n', at), text.size());
    const size_t mark = std::min(text.find('#', at), end);
    std::string comment = text.substr(mark, end - mark);
    while (comment.ends_with('\r') || comment.ends_with(' ')) comment.pop_back();
    at = end + 1;
    if (comment.empty()) continue;
    if (line == 0) {
      comments.behind = std::move(comment);
    } else {
      comments.lines.push_back(std::move(comment));
    }
  }
  return comments;
}

std::string Lines(const std::vector<std::string>& comments) {
  std::string text;
  for (const std::string& comment : comments) text += fmt::format("  {}\n", comment);
  return text;
}

}  // namespace

std::string KeepComments(const std::string& list, const std::vector<WrittenItem>& items,
                         const std::vector<std::string>& values,
                         const std::vector<std::string>& as_toml) {
  CHECK_EQ(values.size(), as_toml.size());
  const size_t last = list.rfind(']');
  const Comments head = ReadComments(list.substr(1, (items.empty() ? last : items[0].begin) - 1));
  bool has_comments = !head.behind.empty() || !head.lines.empty();
  std::string text = head.behind.empty() ? "[\n" : fmt::format("[  {}\n", head.behind);
  text += Lines(head.lines);
  size_t written = 0;  // of `values`
  const auto write = [&](size_t i, const std::string& behind) {
    text += fmt::format("  {},{}{}\n", as_toml[i], behind.empty() ? "" : "  ", behind);
  };
  for (size_t i = 0; i < items.size(); ++i) {
    const size_t next = i + 1 < items.size() ? items[i + 1].begin : last;
    const Comments comments = ReadComments(list.substr(items[i].end, next - items[i].end));
    has_comments = has_comments || !comments.behind.empty() || !comments.lines.empty();
    const auto from = values.begin() + static_cast<std::ptrdiff_t>(written);
    const auto found = std::find(from, values.end(), items[i].value);
    if (found != values.end()) {
      for (const auto to = static_cast<size_t>(found - values.begin()); written < to; ++written)
        write(written, "");
      write(written++, comments.behind);
    }
    text += Lines(comments.lines);
  }
  for (; written < values.size(); ++written) write(written, "");
  if (!has_comments) return "";
  return text == "[\n" ? "[]" : text + "]";
}

}  // namespace exo::app
