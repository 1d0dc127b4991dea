#include "chat/answer_reader.h"

#include <algorithm>
#include <optional>

#include "chat/call_reader.h"
#include "chat/channel_reader.h"
#include "chat/literal.h"
#include "chat/piece_writer.h"

namespace exo::chat {
namespace {

// Texts between tags.
class TaggedReader final : public AnswerReader {
 public:
  TaggedReader(std::shared_ptr<const AnswerFormat> format, ReaderOptions options)
      : format_(std::move(format)), options_(std::move(options)), writer_(options_) {
    if (options_.thinking) Enter(State::kReasoning);
    if (options_.tools.empty()) return;
    for (const std::string& text :
         {syntax().section_begin, syntax().call_begin, format_->other_begin}) {
      if (text.find_first_not_of("[{\" \n\t") != std::string::npos) openers_.push_back(text);
    }
  }

  void Push(std::string_view text, std::vector<Piece>& out) override {
    writer_.SetOut(&out);
    buffer_ += text;
    Run(false);
  }
  void Finish(std::vector<Piece>& out) override {
    writer_.SetOut(&out);
    writer_.BeginFinish();
    Run(true);
    if (state_ == State::kCall && !writer_.committed()) GiveUp(Rest());
    if (state_ == State::kBegin) GiveUp(Rest());
    writer_.Finish();
  }
  bool finished() const override { return writer_.calls() >= options_.max_calls; }
  uint32_t calls() const override { return writer_.calls(); }

 private:
  enum class State : uint8_t {
    kLead,  // nothing but white space yet
    kReasoning,
    kText,
    kBegin,  // an opener was found: what stands in front of a call
    kCall,
    kEnd,    // a call's arguments have ended
    kAfter,  // a call has ended
  };
  const CallSyntax& syntax() const { return format_->calls; }
  std::string_view Rest() const { return std::string_view(buffer_).substr(at_); }
  void Advance(std::string_view rest) { at_ = buffer_.size() - rest.size(); }
  void Enter(State state) {
    state_ = state;
    if (state == State::kReasoning) writer_.Turn();
  }

  void Run(bool last) {
    while (Step(last)) {
    }
    // What may turn out to be text is kept.
    const bool kept = state_ == State::kBegin || (state_ == State::kCall && !writer_.committed());
    const size_t done = kept ? std::min(mark_, at_) : at_;
    buffer_.erase(0, done);
    at_ -= done;
    mark_ -= std::min(mark_, done);
  }
  // False: it waits for more.
  bool Step(bool last) {
    switch (state_) {
      case State::kLead:
        return Lead(last);
      case State::kReasoning:
        return Thought(last);
      case State::kText:
        return Text(last);
      case State::kBegin:
        return Begin(last);
      case State::kCall:
        return Call(last);
      case State::kEnd:
        return End(last);
      case State::kAfter:
        return After(last);
    }
    return false;
  }

  bool Lead(bool last) {
    std::string_view rest = Rest();
    const size_t space = std::min(rest.find_first_not_of(" \t\r\n"), rest.size());
    const std::string_view inner = rest.substr(space);
    if (inner.empty()) {
      if (last) Show(Piece::Kind::kText, rest.size());
      return false;
    }
    if (!format_->reasoning.begin.empty() && !thought_) {
      const Match begin = MatchLiteral(inner, format_->reasoning.begin);
      if (begin.kind == Match::Kind::kPart && !last) return false;
      if (begin.kind == Match::Kind::kWhole) {
        at_ += space + begin.size;
        Enter(State::kReasoning);
        return true;
      }
    }
    if (!options_.tools.empty() && syntax().bare() && inner.front() != '<') {
      Show(Piece::Kind::kText, space);
      Open(syntax().section_begin.empty() ? nullptr : &syntax().section_begin);
      return true;
    }
    state_ = State::kText;
    return true;
  }

  // The opener that comes first in the text; npos: none.
  size_t FindOpener(std::string_view text, const std::string** which) const {
    size_t first = std::string_view::npos;
    for (const std::string& opener : openers_) {
      const size_t at = FindLiteral(text, opener);
      if (at >= first) continue;
      first = at;
      *which = &opener;
    }
    return first;
  }
  // False: the opener at `at_` is not whole yet.
  bool TakeOpener(const std::string& opener, bool last) {
    // Another one may be the whole text that this one is the beginning of.
    for (const std::string& one : openers_) {
      const Match match = MatchLiteral(Rest(), Trimmed(one));
      if (match.kind != Match::Kind::kWhole) continue;
      Open(&one);
      return true;
    }
    if (!last) return false;
    Show(kind(), std::min(Rest().size(), Trimmed(opener).size()));
    return true;
  }
  Piece::Kind kind() const {
    return state_ == State::kReasoning ? Piece::Kind::kReasoning : Piece::Kind::kText;
  }
  void Show(Piece::Kind kind, size_t size) {
    writer_.Text(kind, Rest().substr(0, size));
    at_ += size;
  }

  bool Thought(bool last) {
    const std::string& end = format_->reasoning.end;
    const std::string* opener = nullptr;
    const size_t call = FindOpener(Rest(), &opener);
    const size_t at = FindLiteral(Rest(), end);
    if (call < at) {
      Show(kind(), call);
      return TakeOpener(*opener, last);
    }
    Show(kind(), std::min(at, Rest().size()));
    if (at == std::string_view::npos) return false;
    const Match match = MatchLiteral(Rest(), end);
    if (match.kind == Match::Kind::kWhole) {
      at_ += match.size;
      thought_ = true;
      writer_.Turn();
      Enter(State::kLead);
      return true;
    }
    if (last) Show(kind(), Rest().size());
    return false;
  }

  bool Text(bool last) {
    const std::string* opener = nullptr;
    const size_t at = FindOpener(Rest(), &opener);
    Show(kind(), std::min(at, Rest().size()));
    return at != std::string_view::npos && !Rest().empty() && TakeOpener(*opener, last);
  }

  // A call, or several, may begin at at_. Null: without anything in front of it.
  void Open(const std::string* opener) {
    mark_ = at_;
    in_section_ = false;
    if (opener != nullptr) {
      at_ += MatchLiteral(Rest(), Trimmed(*opener)).size;
      in_section_ = *opener == syntax().section_begin;
    }
    begin_ = in_section_ ? std::string_view(syntax().call_begin) : std::string_view();
    state_ = State::kBegin;
  }
  bool Begin(bool last) {
    const Match match = MatchLiteral(Rest(), begin_);
    if (match.kind == Match::Kind::kPart && !last) return false;
    if (match.kind != Match::Kind::kWhole) {
      GiveUp({});
      return true;
    }
    at_ += match.size;
    call_.emplace(syntax(), options_, writer_);
    state_ = State::kCall;
    return true;
  }
  // It was no call: what was read of it is text, and `more`.
  void GiveUp(std::string_view more) {
    writer_.DropCall();
    at_ += more.size();
    const size_t end = at_;
    at_ = mark_;
    state_ = State::kText;
    // At least one character, so that it goes on.
    Show(Piece::Kind::kText, std::max(end, std::min(mark_ + 1, buffer_.size())) - mark_);
  }

  bool Call(bool last) {
    std::string_view rest = Rest();
    const CallReader::Step step = call_->Read(rest, last);
    Advance(rest);
    if (step == CallReader::Step::kMore) return false;
    if (step == CallReader::Step::kBad && !writer_.committed()) {
      GiveUp({});
      return true;
    }
    if (step == CallReader::Step::kBad) writer_.Arguments(call_->Rest());
    writer_.EndCall();
    state_ = step == CallReader::Step::kBad ? State::kText : State::kEnd;
    return true;
  }

  // What stands behind arguments may lack.
  bool End(bool last) {
    const bool object = !syntax().object_begin.empty();
    const std::string end = (object ? "" : syntax().after_arguments) + syntax().call_end;
    const Match match = MatchLiteral(Rest(), end);
    if (match.kind == Match::Kind::kPart && !last) return false;
    if (match.kind == Match::Kind::kWhole) at_ += match.size;
    state_ = State::kAfter;
    return true;
  }
  // Nothing but white space stands between calls.
  bool IsLines() const {
    const std::string next = syntax().between + syntax().call_begin;
    return !next.empty() && Trimmed(next).empty() && !Trimmed(syntax().section_end).empty();
  }
  bool After(bool last) {
    const std::string next = syntax().between + syntax().call_begin;
    const Match another = MatchLiteral(Rest(), next);
    const bool known = !Trimmed(next).empty();
    const Match end = MatchLiteral(Rest(), syntax().section_end);
    const bool ends = !Trimmed(syntax().section_end).empty();
    if (known && another.kind == Match::Kind::kWhole && !finished()) {
      mark_ = at_;
      at_ += another.size;
      begin_ = {};
      state_ = State::kBegin;
      return true;
    }
    if (IsLines() && end.kind == Match::Kind::kNo) {
      const std::string_view line = Trimmed(Rest());
      if (line.empty() && !last) return false;
      if (!line.empty() && IsNameChar(line.front())) {
        mark_ = at_;
        begin_ = {};
        state_ = State::kBegin;
        return true;
      }
    }
    const bool waits =
        (known && another.kind == Match::Kind::kPart) || (ends && end.kind == Match::Kind::kPart);
    if (waits && !last) return false;
    if (ends && end.kind == Match::Kind::kWhole) at_ += end.size;
    state_ = State::kText;
    return true;
  }

  const std::shared_ptr<const AnswerFormat> format_;
  const ReaderOptions options_;
  PieceWriter writer_;
  std::vector<std::string> openers_;
  std::string buffer_;
  size_t at_ = 0;    // in buffer_, of what was not read yet
  size_t mark_ = 0;  // where the call at work began
  State state_ = State::kLead;
  bool thought_ = false;
  bool in_section_ = false;
  std::string_view begin_;  // what stands in front of the call
  std::optional<CallReader> call_;
};

}  // namespace

std::unique_ptr<AnswerReader> MakeAnswerReader(std::shared_ptr<const AnswerFormat> format,
                                               ReaderOptions options) {
  if (format->calls.form == CallForm::kChannels)
    return MakeChannelReader(std::move(format), std::move(options));
  return std::make_unique<TaggedReader>(std::move(format), std::move(options));
}

}  // namespace exo::chat
