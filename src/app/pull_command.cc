#include "app/pull_command.h"

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <nlohmann/json.hpp>

#include "app/client_commands.h"
#include "app/model_path.h"
#include "app/output.h"
#include "app/terminal.h"
#include "base/text.h"
#include "base/units.h"
#include "store/checkpoint_folder.h"
#include "store/model.h"
#include "sys/files.h"
#include "sys/standard_streams.h"

namespace exo::app {
namespace {

using nlohmann::json;

constexpr size_t kBarColumns = 24;
// A narrower terminal has room for the figures alone.
constexpr unsigned kWideColumns = 72;

std::string TimeLeft(double seconds) {
  const auto whole = static_cast<uint64_t>(std::min(seconds, 1e8)) + 1;
  if (whole < 60) return fmt::format("{} s left", whole);
  if (whole < 3600) return fmt::format("{}:{:02} min left", whole / 60, whole % 60);
  return fmt::format("{}:{:02} h left", whole / 3600, whole / 60 % 60);
}

// A path on this machine, and no name of a repository or of a registry's model.
bool IsPathOfFile(const std::string& text) {
  if (text.starts_with('/') || text.starts_with("./") || text.starts_with("../")) return true;
  if (text == "." || text == "..") return true;
  return LooksLikePath(text) && sys::Exists(text);
}

Result<void> AddFile(const HttpClient& api, const std::string& path, bool as_json) {
  const json added = TRY(api.Post("/v1/internal/models", {{"path", path}}));
  const std::string name = added.value("model", "");
  if (as_json) {
    PrintJson({{"step", "done"}, {"model", name}, {"file", path}});
  } else {
    Print("{} is known, and is used where it lies; ask it with: exo run {}\n", Printable(name),
          Printable(name));
  }
  return {};
}

// Whether something in a folder is a model: a GGUF file, of a split one the first, or a folder of
// safetensors.
bool IsModelAt(const std::string& folder, const std::string& name) {
  if (name.starts_with('.')) return false;
  const std::string path = folder + "/" + name;
  if (!name.ends_with(".gguf")) return store::IsCheckpoint(sys::RealDisk(), path);
  const auto parts = store::ParseModelPath(path);
  return parts && parts->paths[0] == path;
}

// Every model in it, but not in folders below. One that is of no use is told, and the others count.
Result<void> AddFolder(const HttpClient& api, const std::string& folder, bool as_json) {
  size_t added = 0;
  for (const std::string& name : TRY(sys::RealDisk().List(folder))) {
    if (!IsModelAt(folder, name)) continue;
    const auto one = AddFile(api, folder + "/" + name, as_json);
    if (!one && one.error().code == ErrorCode::kDisconnected) return one;
    if (!one) Note("exo: {}\n", Printable(one.error().message));
    added += one ? 1 : 0;
  }
  if (added > 0) return {};
  return Fail(ErrorCode::kNotFound,
              "{} has no GGUF file and no folder of safetensors that can be used", folder);
}

Result<void> AddPath(const HttpClient& api, const PullOptions& options) {
  std::error_code error;
  if (std::filesystem::is_directory(options.model, error)) {
    const auto folder = std::filesystem::canonical(options.model, error);
    if (error) return Fail(ErrorCode::kIo, "{}: {}", options.model, error.message());
    if (store::IsCheckpoint(sys::RealDisk(), folder.string()))
      return AddFile(api, folder.string(), options.json);
    return AddFolder(api, folder.string(), options.json);
  }
  return AddFile(api, TRY(PathForNode(options.model)), options.json);
}

PullLine LineOf(const json& event) {
  return {.file = event.value("file", ""),
          .completed = event.value("completed", uint64_t{0}),
          .total = event.value("total", uint64_t{0}),
          .bytes_per_second = event.value("bytes_per_second", 0.0),
          .seconds_left = event.value("seconds_left", 0.0),
          .verifying = event.value("step", "") == "verifying",
          .silent_seconds = event.value("silent_seconds", 0u)};
}

// On a terminal a line that changes; elsewhere a line for each tenth, and when nothing comes.
class PullDisplay {
 public:
  void Show(const json& event) {
    if (const std::string note = event.value("note", ""); !note.empty()) {
      line_.Clear();
      Note("{}\n", Printable(note));
    }
    const std::string step = event.value("step", "");
    if (step != "file" && step != "verifying" && step != "placing") return;
    const PullLine now = LineOf(event);
    if (terminal_) {
      const bool bar = sys::TerminalColumns(2).value_or(kWideColumns) >= kWideColumns;
      return line_.Show(TextOf(now, bar));
    }
    const uint64_t tenth = now.total == 0 ? 0 : now.completed * 10 / now.total;
    const bool silent = now.silent_seconds > 0;
    if (now.file == file_ && tenth == tenth_ && now.verifying == verifying_ && silent == silent_)
      return;
    silent_ = silent;
    file_ = now.file;
    tenth_ = tenth;
    verifying_ = now.verifying;
    line_.Show(TextOf(now, false));
  }
  void End() { line_.Clear(); }

 private:
  const bool terminal_ = CanRedraw(2);
  ProgressLine line_;
  std::string file_;
  uint64_t tenth_ = 0;
  bool verifying_ = false;
  bool silent_ = false;
};

}  // namespace

std::string TextOf(const PullLine& line, bool bar) {
  if (line.verifying) return fmt::format("{}  checking its SHA-256", line.file);
  const double part =
      line.total == 0 ? 1 : static_cast<double>(line.completed) / static_cast<double>(line.total);
  std::string text = line.file + "  ";
  if (bar) {
    const auto full = static_cast<size_t>(part * kBarColumns);
    text += "[" + std::string(full, '#') + std::string(kBarColumns - full, ' ') + "]  ";
  }
  text += fmt::format("{} %  {} of {}", static_cast<int>(std::floor(part * 100)),
                      FormatSize(line.completed), FormatSize(line.total));
  if (line.silent_seconds > 0)
    return text + fmt::format("  nothing has come for {} s", line.silent_seconds);
  if (line.bytes_per_second > 0) {
    text += fmt::format("  {}/s", FormatSize(static_cast<uint64_t>(line.bytes_per_second)));
    if (line.seconds_left > 0) text += "  " + TimeLeft(line.seconds_left);
  }
  return text;
}

Result<std::string> PullShown(const HttpClient& api, const std::string& reference) {
  std::string name;
  PullDisplay display;
  const auto pulled =
      api.PostStream("/v1/internal/pull", {{"model", reference}}, [&](const json& event) {
        if (event.value("step", "") == "done") name = event.value("model", "");
        display.Show(event);
      });
  display.End();
  if (!pulled) return std::unexpected(pulled.error());
  return name;
}

Result<void> RunPull(const Settings& settings, const PullOptions& options) {
  const HttpClient api = TRY(OwnNode(settings));
  if (IsPathOfFile(options.model)) return AddPath(api, options);
  if (options.json) {
    return api.PostStream("/v1/internal/pull", {{"model", options.model}}, [](const json& event) {
      PrintJson(event);
      (void)FlushOutput();  // whoever reads along sees it now; what is lost is told at the end
    });
  }
  const std::string name = TRY(PullShown(api, options.model));
  const auto model = api.Get("/v1/models/" + EscapedSegment(name));
  const bool is_here = !model || model->value("exo", json::object()).value("local", true);
  Print("{} is {}; ask it with: exo run {}\n", Printable(name),
        is_here ? "here" : "on another device, which shares it", Printable(name));
  return {};
}

}  // namespace exo::app
