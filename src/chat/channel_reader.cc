#include "chat/channel_reader.h"

#include <algorithm>
#include <array>
#include <optional>

#include "chat/call_reader.h"
#include "chat/literal.h"
#include "chat/piece_writer.h"

namespace exo::chat {
namespace {

constexpr size_t kMaxHeader = 512;
constexpr std::string_view kMessage = "<|message|>", kStart = "<|start|>", kChannel = "<|channel|>";
constexpr std::array kEnds = {std::string_view("<|end|>"), std::string_view("<|call|>"),
                              std::string_view("<|return|>"), kStart};
constexpr std::string_view kFunction = "to=functions.";

class ChannelReader final : public AnswerReader {
 public:
  ChannelReader(std::shared_ptr<const AnswerFormat> format, ReaderOptions options)
      : format_(std::move(format)), options_(std::move(options)), writer_(options_) {
    arguments_.form = CallForm::kJson;
  }

  void Push(std::string_view text, std::vector<Piece>& out) override {
    writer_.SetOut(&out);
    buffer_ += text;
    while (Step(false)) {
    }
  }
  void Finish(std::vector<Piece>& out) override {
    writer_.SetOut(&out);
    writer_.BeginFinish();
    while (Step(true)) {
    }
    if (state_ == State::kCall && !writer_.committed()) GiveUp();
    if (state_ == State::kHeader && !IsHeader(buffer_)) Show(buffer_.size());
    if (state_ == State::kHeader && buffer_.find("to=") != std::string::npos) writer_.NoteCut();
    writer_.Finish();
  }
  bool finished() const override { return writer_.calls() >= options_.max_calls; }
  uint32_t calls() const override { return writer_.calls(); }

 private:
  enum class State : uint8_t { kHeader, kBody, kCall };

  static bool IsHeader(std::string_view text) {
    const std::string_view inner = Trimmed(text);
    for (const std::string_view begin : {kChannel, kStart, std::string_view("to=")}) {
      if (inner.starts_with(begin) || begin.starts_with(inner)) return true;
    }
    return false;
  }
  bool Step(bool last) {
    if (state_ == State::kHeader) return Header();
    return state_ == State::kCall ? Call(last) : Body(last);
  }
  void Show(size_t size) {
    writer_.Text(kind_, std::string_view(buffer_).substr(0, size));
    buffer_.erase(0, size);
  }

  bool Header() {
    if (buffer_.empty()) return false;
    const size_t end = buffer_.find(kMessage);
    if (!IsHeader(buffer_) || std::min(end, buffer_.size()) > kMaxHeader) {
      kind_ = Piece::Kind::kText;
      state_ = State::kBody;
      return true;
    }
    if (end == std::string::npos) return false;
    const std::string header = buffer_.substr(0, end);
    raw_ = buffer_.substr(0, end + kMessage.size());
    buffer_.erase(0, raw_.size());
    state_ = State::kBody;
    writer_.Turn();
    const size_t recipient = header.find("to=");
    const bool analysis = header.find("analysis") != std::string::npos;
    kind_ =
        analysis || recipient != std::string::npos ? Piece::Kind::kReasoning : Piece::Kind::kText;
    const size_t name = header.find(kFunction);
    if (name == std::string::npos) return true;
    size_t behind = name + kFunction.size();
    while (behind < header.size() && IsNameChar(header[behind])) ++behind;
    const std::string tool =
        header.substr(name + kFunction.size(), behind - name - kFunction.size());
    kind_ = Piece::Kind::kText;
    if (finished() || FindTool(options_.tools, tool) == nullptr) return true;
    call_.emplace(arguments_, options_, writer_);
    head_ = tool + "\n";
    state_ = State::kCall;
    return true;
  }

  bool Call(bool last) {
    if (!head_.empty()) {
      std::string_view head = head_;
      call_->Read(head, false);
      head_.clear();
    }
    std::string_view rest = buffer_;
    const CallReader::Step step = call_->Read(rest, last);
    const size_t read = buffer_.size() - rest.size();
    raw_ += buffer_.substr(0, read);
    buffer_.erase(0, read);
    if (step == CallReader::Step::kMore) return false;
    if (step == CallReader::Step::kBad && !writer_.committed()) {
      GiveUp();
      return true;
    }
    if (step == CallReader::Step::kBad) writer_.Arguments(call_->Rest());
    writer_.EndCall();
    kind_ = Piece::Kind::kText;
    state_ = State::kBody;
    return true;
  }
  void GiveUp() {
    writer_.DropCall();
    buffer_ = raw_ + buffer_;
    kind_ = Piece::Kind::kText;
    state_ = State::kBody;
    Show(raw_.size());
  }

  // Up to the mark that ends a message.
  bool Body(bool last) {
    size_t first = buffer_.size();
    std::string_view mark;
    for (const std::string_view end : kEnds) {
      const size_t at = FindLiteral(buffer_, end);
      if (at >= first) continue;
      first = at;
      mark = end;
    }
    Show(first);
    if (mark.empty()) return false;
    for (const std::string_view end : kEnds) {
      if (!buffer_.starts_with(end)) continue;
      if (end != kStart) buffer_.erase(0, end.size());
      state_ = State::kHeader;
      return true;
    }
    if (last) Show(buffer_.size());
    return false;
  }

  const std::shared_ptr<const AnswerFormat> format_;
  const ReaderOptions options_;
  PieceWriter writer_;
  CallSyntax arguments_;  // a name, then JSON
  std::string buffer_;    // what was not read yet
  State state_ = State::kHeader;
  Piece::Kind kind_ = Piece::Kind::kText;
  std::optional<CallReader> call_;
  std::string head_;  // its name
  std::string raw_;   // its text, in case it is none
};

}  // namespace

std::unique_ptr<AnswerReader> MakeChannelReader(std::shared_ptr<const AnswerFormat> format,
                                                ReaderOptions options) {
  return std::make_unique<ChannelReader>(std::move(format), std::move(options));
}

}  // namespace exo::chat
