#include "sys/line_editor.h"

#include <histedit.h>
#include <sys/stat.h>
#include <unistd.h>

#include <array>
#include <clocale>
#include <cstdio>
#include <cstring>
#include <cwchar>
#include <string_view>

#include "sys/files.h"
#include "sys/process.h"
#include "sys/standard_streams.h"

namespace exo::sys {
namespace {

constexpr int kHistoryLines = 1000;
// What a terminal sends around a paste once it was asked to, so that line ends in it send nothing.
constexpr const char* kPasteOn = "\033[?2004h";
constexpr const char* kPasteOff = "\033[?2004l";
constexpr const char* kPasteBegin = "\033[200~";
constexpr std::string_view kPasteEnd = "\033[201~";
constexpr size_t kMaxPaste = 4u << 20;

// libedit takes bytes for characters of the locale; text of exo is UTF-8 whatever that is.
void UseUtf8() {
  const char* locale = std::setlocale(LC_CTYPE, "");
  if (locale != nullptr && MB_CUR_MAX > 1) return;
  (void)std::setlocale(LC_CTYPE, "C.UTF-8");
}

class TerminalEditor final : public LineEditor {
 public:
  explicit TerminalEditor(LineEditorOptions options) : options_(std::move(options)) {
    UseUtf8();
    editor_ = ::el_init("exo", stdin, stdout, stderr);
    history_ = ::history_init();
    HistEvent event;
    ::history(history_, &event, H_SETSIZE, kHistoryLines);
    ::history(history_, &event, H_SETUNIQUE, 1);
    if (!options_.history_file.empty())
      ::history(history_, &event, H_LOAD, options_.history_file.c_str());
    ::el_set(editor_, EL_CLIENTDATA, this);
    ::el_set(editor_, EL_PROMPT, &TerminalEditor::Prompt);
    ::el_set(editor_, EL_EDITOR, "emacs");
    ::el_set(editor_, EL_HIST, ::history, history_);
    ::el_set(editor_, EL_GETCFN, &TerminalEditor::NextCharacter);
    ::el_set(editor_, EL_ADDFN, "exo-paste", "takes a paste", &TerminalEditor::Paste);
    ::el_set(editor_, EL_ADDFN, "exo-newline", "begins a further line", &TerminalEditor::Newline);
    ::el_set(editor_, EL_BIND, kPasteBegin, "exo-paste", nullptr);
    // The editor has the terminal swap the two: Enter sends ^J then, and Ctrl-J ^M.
    ::el_set(editor_, EL_BIND, "^M", "exo-newline", nullptr);
    ::el_set(editor_, EL_BIND, "^R", "em-inc-search-prev", nullptr);
  }
  ~TerminalEditor() override {
    ::el_end(editor_);
    ::history_end(history_);
  }
  TerminalEditor(const TerminalEditor&) = delete;
  TerminalEditor& operator=(const TerminalEditor&) = delete;

  Result<std::string> Read(const std::string& prompt) override {
    prompt_ = prompt;
    interrupted_ = false;
    (void)WriteAll(STDOUT_FILENO, kPasteOn);
    int count = 0;
    const char* line = ::el_gets(editor_, &count);
    (void)WriteAll(STDOUT_FILENO, kPasteOff);
    if (interrupted_) {
      ::el_reset(editor_);
      (void)WriteAll(STDOUT_FILENO, "\r\n");
      return Fail(ErrorCode::kCancelled, "interrupted");
    }
    if (line == nullptr || count <= 0) return Fail(ErrorCode::kDisconnected, "the input has ended");
    std::string text(line, static_cast<size_t>(count));
    if (text.ends_with('\n')) text.pop_back();
    return text;
  }

  Result<void> Remember(const std::string& text) override {
    HistEvent event;
    ::history(history_, &event, H_ENTER, text.c_str());
    if (options_.history_file.empty()) return {};
    // Made before it is written: what was asked is nobody else's business.
    if (!Exists(options_.history_file)) TRY(WriteFileAtomically(options_.history_file, "", 0600));
    if (::chmod(options_.history_file.c_str(), 0600) != 0 ||
        ::history(history_, &event, H_SAVE, options_.history_file.c_str()) < 0) {
      return Fail(ErrorCode::kIo, "the history {} cannot be written: {}", options_.history_file,
                  std::strerror(errno));
    }
    return {};
  }

 private:
  static TerminalEditor& Of(EditLine* editor) {
    void* self = nullptr;
    ::el_get(editor, EL_CLIENTDATA, &self);
    return *static_cast<TerminalEditor*>(self);
  }
  static char* Prompt(EditLine* editor) { return Of(editor).prompt_.data(); }

  // A byte of the terminal, or nothing at its end or on Ctrl-C.
  std::optional<char> NextByte() {
    if (options_.stop_fd >= 0 && WaitAnyReadable({options_.stop_fd, STDIN_FILENO}) == 0) {
      (void)TakeSignal(options_.stop_fd, Time(0));
      interrupted_ = true;
      return std::nullopt;
    }
    char byte = 0;
    ssize_t got = 0;
    do got = ::read(STDIN_FILENO, &byte, 1);
    while (got < 0 && errno == EINTR);
    return got == 1 ? std::optional(byte) : std::nullopt;
  }

  // As libedit wants it: 1 and a character, 0 at the end, -1 when the line is given up.
  static int NextCharacter(EditLine* editor, wchar_t* character) {
    TerminalEditor& self = Of(editor);
    std::mbstate_t state{};
    for (;;) {
      const auto byte = self.NextByte();
      if (!byte) return self.interrupted_ ? -1 : 0;
      const size_t used = std::mbrtowc(character, &*byte, 1, &state);
      if (used == static_cast<size_t>(-2)) continue;  // the character goes on
      if (used == static_cast<size_t>(-1)) state = {};
      if (used <= 1) return 1;
    }
  }

  static unsigned char Paste(EditLine* editor, int) {
    TerminalEditor& self = Of(editor);
    std::string pasted;
    while (!pasted.ends_with(kPasteEnd) && pasted.size() < kMaxPaste) {
      const auto byte = self.NextByte();
      if (!byte) return self.interrupted_ ? CC_EOF : CC_REFRESH;
      pasted += *byte == '\r' ? '\n' : *byte;
    }
    if (pasted.ends_with(kPasteEnd)) pasted.resize(pasted.size() - kPasteEnd.size());
    return ::el_insertstr(editor, pasted.c_str()) == 0 ? CC_REFRESH : CC_ERROR;
  }
  static unsigned char Newline(EditLine* editor, int) {
    return ::el_insertstr(editor, "\n") == 0 ? CC_REFRESH : CC_ERROR;
  }

  const LineEditorOptions options_;
  EditLine* editor_ = nullptr;
  History* history_ = nullptr;
  std::string prompt_;
  bool interrupted_ = false;
};

}  // namespace

Result<std::unique_ptr<LineEditor>> LineEditor::Open(LineEditorOptions options) {
  if (!IsTerminal(STDIN_FILENO) || !IsTerminal(STDOUT_FILENO))
    return Fail(ErrorCode::kUnsupported, "lines are edited on a terminal only");
  return std::make_unique<TerminalEditor>(std::move(options));
}

}  // namespace exo::sys
