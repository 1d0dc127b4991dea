#include "app/chat_command.h"

#include <fmt/format.h>

#include <nlohmann/json.hpp>
#include <utility>

#include "app/ask.h"
#include "app/chat_state.h"
#include "app/model_views.h"
#include "app/output.h"
#include "app/terminal.h"
#include "app/waiting_line.h"
#include "app/word_wrap.h"
#include "base/text.h"
#include "sys/line_editor.h"
#include "sys/process.h"
#include "sys/standard_streams.h"
#include "sys/system.h"

namespace exo::app {
namespace {

using nlohmann::json;

constexpr const char* kPrompt = ">>> ";
constexpr const char* kFurtherPrompt = "... ";
constexpr std::string_view kQuotes = "\"\"\"";

constexpr const char* kHelp =
    "  /set [NAME VALUE]  system, temperature, top_p, think, verbose, ...\n"
    "  /show              the model and what is set\n"
    "  /file PATH         adds a text file to the next question\n"
    "  /retry             answers the last question again\n"
    "  /clear             forgets what was said\n"
    "  /save NAME         keeps this chat; /load NAME goes on with it\n"
    "  /model NAME        goes on with another model\n"
    "  /devices           which devices are there\n"
    "  /bye               leaves, as Ctrl-D does\n"
    "  \"\"\"                begins and ends a text of several lines; Ctrl-J begins a further "
    "line\n"
    "  Ctrl-C             stops an answer\n";

// Shows an answer as it comes: what is thought dim, and broken between words.
class AnswerPrinter {
 public:
  AnswerPrinter() : wrap_(sys::TerminalColumns(1).value_or(0)) {}

  void Think(std::string_view text) {
    if (!std::exchange(thinking_, true) && UseColor()) Write("\033[2m");
    Show(text);
  }
  void Say(std::string_view text) {
    EndThoughts();
    Show(text);
  }
  void End() {
    Write(wrap_.End());
    if (thinking_ && UseColor()) Write("\033[0m");
    Write("\n");
    (void)FlushOutput();
  }

 private:
  void EndThoughts() {
    if (!std::exchange(thinking_, false)) return;
    Write(wrap_.End());
    if (UseColor()) Write("\033[0m");
    Write("\n\n");
  }
  void Show(std::string_view text) {
    Write(wrap_.Add(Printable(text, "\n\t")));
    (void)FlushOutput();
  }

  WordWrap wrap_;
  bool thinking_ = false;
};

class ChatLoop {
 public:
  ChatLoop(const Settings& settings, const HttpClient& api, Chat chat,
           std::unique_ptr<sys::LineEditor> editor, int stop_fd)
      : settings_(settings),
        api_(api),
        chat_(std::move(chat)),
        editor_(std::move(editor)),
        stop_fd_(stop_fd) {}

  void Run() {
    while (!leaving_) {
      const auto text = ReadText();
      if (!text && text.error().code == ErrorCode::kCancelled) continue;
      if (!text) break;
      if (text->find_first_not_of(" \t\n") == std::string::npos) continue;
      if (const auto saved = editor_->Remember(*text); !saved && !std::exchange(warned_, true))
        WriteError(saved.error().message);
      if (const auto command = ParseChatCommand(*text)) {
        Obey(*command);
      } else {
        Ask(*text);
      }
      (void)FlushOutput();
    }
    Write("\n");
  }

 private:
  // A line, or all of them between two """.
  Result<std::string> ReadText() {
    std::string text = TRY(editor_->Read(kPrompt));
    if (!text.starts_with(kQuotes)) return text;
    text.erase(0, kQuotes.size());
    while (!text.ends_with(kQuotes)) text += "\n" + TRY(editor_->Read(kFurtherPrompt));
    text.resize(text.size() - kQuotes.size());
    return text;
  }

  void Ask(const std::string& question) {
    chat_.messages.push_back(
        {{"role", "user"}, {"content", std::exchange(attached_, "") + ToUtf8(question)}});
    AnswerPrinter printer;
    WaitingLine waiting(api_, chat_.model);
    std::string said;
    const auto answer = AskChat(api_.Watched(stop_fd_, [&] { waiting.Show(); }), ChatRequest(chat_),
                                {.on_thought =
                                     [&](std::string_view text) {
                                       waiting.End();
                                       printer.Think(text);
                                     },
                                 .on_text =
                                     [&](std::string_view text) {
                                       waiting.End();
                                       said += text;
                                       printer.Say(text);
                                     }});
    waiting.End();
    printer.End();
    TakeAnswer(answer, said);
  }

  // What has come stays, also of an answer that was stopped; a question without any goes.
  void TakeAnswer(const Result<Answer>& answer, const std::string& said) {
    if (!answer) {
      const bool stopped = answer.error().code == ErrorCode::kCancelled;
      if (stopped) (void)sys::TakeSignal(stop_fd_, Time(0));
      if (!stopped) WriteError(answer.error().message);
      if (said.empty()) {
        chat_.messages.erase(chat_.messages.size() - 1);
        return;
      }
    }
    chat_.messages.push_back({{"role", "assistant"}, {"content", said}});
    if (answer && answer->finish_reason == "length")
      Note("exo: the answer was cut off at the most tokens that it may have\n");
    if (answer && chat_.settings.verbose) Write(Dim(DescribeSpeed(*answer)) + "\n");
  }

  void Obey(const ChatCommand& command) {
    using Action = void (ChatLoop::*)(const std::string& rest);
    static constexpr std::pair<std::string_view, Action> kCommands[] = {
        {"help", &ChatLoop::Help},      {"?", &ChatLoop::Help},
        {"bye", &ChatLoop::Leave},      {"exit", &ChatLoop::Leave},
        {"set", &ChatLoop::Set},        {"show", &ChatLoop::Show},
        {"clear", &ChatLoop::Clear},    {"retry", &ChatLoop::Retry},
        {"file", &ChatLoop::Attach},    {"save", &ChatLoop::Save},
        {"load", &ChatLoop::Load},      {"model", &ChatLoop::ChangeModel},
        {"devices", &ChatLoop::Devices}};
    std::vector<std::string> names;
    for (const auto& [name, action] : kCommands) {
      names.emplace_back(name);
      if (name == command.name) return (this->*action)(command.rest);
    }
    const std::string near = Nearest(command.name, names);
    WriteError(fmt::format("there is no /{}{}; /help shows what there is", command.name,
                           near.empty() ? "" : fmt::format("; did you mean /{}?", near)));
  }

  void Help(const std::string&) { Write(kHelp); }
  void Leave(const std::string&) { leaving_ = true; }
  void Clear(const std::string&) {
    chat_.messages = json::array();
    attached_.clear();
    Write("forgotten; the chat begins anew\n");
  }
  void Show(const std::string&) {
    Print("  {:<12} {}\n  {:<12} {}\n{}", "model", Printable(chat_.model), "messages",
          chat_.messages.size(), Printable(DescribeSettings(chat_.settings), "\n"));
  }
  void Set(const std::string& rest) {
    if (rest.empty()) return Write(Printable(DescribeSettings(chat_.settings), "\n"));
    const size_t end = std::min(rest.find(' '), rest.size());
    const auto set = SetInChat(chat_.settings, rest.substr(0, end),
                               end < rest.size() ? rest.substr(end + 1) : "");
    if (!set) return WriteError(set.error().message);
    Print("{}\n", Printable(*set));
  }
  void Retry(const std::string&) {
    const auto question = TakeLastQuestion(chat_);
    if (!question) return WriteError("there is no question yet to answer again");
    Ask(*question);
  }
  void Attach(const std::string& path) {
    if (path.empty()) return WriteError("/file needs the path of a text file");
    const auto text = Attachment(path);
    if (!text) {
      return WriteError(fmt::format("{} (at most {} KiB are taken)", text.error().message,
                                    kMaxAttachment / 1024));
    }
    attached_ += *text + "\n";
    Print("{} goes with the next question ({} bytes)\n", Printable(path), text->size());
  }
  static std::string ChatFolder() { return sys::DataFolder() + "/chats"; }
  void Save(const std::string& name) {
    const auto saved = SaveChat(chat_, ChatFolder(), name);
    if (!saved) return WriteError(saved.error().message);
    Print("saved; /load {} goes on with it\n", Printable(name));
  }
  void Load(const std::string& name) {
    auto loaded = LoadChat(ChatFolder(), name);
    if (!loaded) return WriteError(loaded.error().message);
    chat_ = *std::move(loaded);
    Print("{} messages with {}\n", chat_.messages.size(), Printable(chat_.model));
  }
  void ChangeModel(const std::string& name) {
    if (name.empty()) return Print("{}\n", Printable(chat_.model));
    const auto known = GetModel(api_, name);
    if (!known) return WriteError(known.error().message);
    chat_.model = name;
    Print("goes on with {}\n", Printable(name));
  }
  void Devices(const std::string&) {
    if (const auto shown = RunDevices(settings_, {}); !shown) WriteError(shown.error().message);
  }

  const Settings& settings_;
  const HttpClient& api_;
  Chat chat_;
  std::unique_ptr<sys::LineEditor> editor_;
  const int stop_fd_;
  std::string attached_;  // in front of the next question
  bool leaving_ = false;
  bool warned_ = false;  // that the history cannot be kept
};

Chat FirstState(const AskOptions& options) {
  Chat chat{.model = options.model};
  ChatSettings& set = chat.settings;
  set.temperature = options.temperature;
  set.top_p = options.top_p;
  set.min_p = options.min_p;
  if (options.top_k) set.top_k = *options.top_k;
  if (options.seed) set.seed = static_cast<int64_t>(*options.seed);
  if (options.max_tokens) set.max_tokens = *options.max_tokens;
  set.verbose = options.verbose;
  return chat;
}

}  // namespace

bool WantsChat(const AskOptions& options) {
  return options.prompt.empty() && !options.raw && !options.json && sys::IsTerminal(0) &&
         sys::IsTerminal(1);
}

Result<void> RunChat(const Settings& settings, const HttpClient& api, const AskOptions& options) {
  // Asking for a plan waits for files that are still being read. What does not fit is told with the
  // first question.
  const auto placed = api.Post("/v1/internal/plan", {{"model", options.model}});
  if (!placed && placed.error().code == ErrorCode::kNotFound)
    return std::unexpected(placed.error());
  const std::string folder = sys::DataFolder();
  const std::string history = options.no_history ? "" : folder + "/history";
  const int stop_fd = TRY(sys::StopSignals());
  auto editor = TRY(sys::LineEditor::Open({.history_file = history, .stop_fd = stop_fd}));
  Print("{} answers; /help shows what else can be said\n", Printable(options.model));
  TRY(FlushOutput());
  ChatLoop(settings, api, FirstState(options), std::move(editor), stop_fd).Run();
  return {};
}

}  // namespace exo::app
