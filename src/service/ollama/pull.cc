#include "service/ollama/pull.h"

#include "service/fields.h"
#include "service/ollama/encode.h"
#include "service/ollama/parse.h"
#include "service/pull_answer.h"
#include "service/request_fields.h"

namespace exo::service::ollama {
namespace {

using Step = node::PullProgress::Step;

constexpr size_t kShortDigest = 12;  // characters of a digest that clients show

std::string StatusLine(const std::string& status) {
  return Dump(Json{{"status", status}}) + "\n";
}

// One line a step in the order that clients know: what goes by too fast is told as well.
class LinesOfPull final : public PullEncoder {
 public:
  explicit LinesOfPull(bool stream) : stream_(stream) {}

  std::optional<StreamFormat> format() const override {
    if (!stream_) return std::nullopt;
    return StreamFormat{"application/x-ndjson", ""};
  }

  std::string Add(const node::PullProgress& progress) override {
    std::string lines = Begin();
    if (progress.step == Step::kManifest) return lines;
    lines += FileLine(progress);
    if (progress.step >= Step::kVerifying && progress.sha256 != verified_) {
      verified_ = progress.sha256;
      lines += StatusLine("verifying sha256 digest");
    }
    return lines;
  }

  std::string Done(const std::string&) override {
    if (!stream_) return StatusLine("success");
    return Begin() + StatusLine("writing manifest") + StatusLine("success");
  }
  std::string FailMidStream(const ApiError& error) override {
    return Dump(ErrorJson(error)) + "\n";
  }
  HttpResponse Fail(const ApiError& error) override { return ErrorResponse(error); }

 private:
  std::string Begin() {
    if (begun_) return "";
    begun_ = true;
    return StatusLine("pulling manifest");
  }

  static std::string FileLine(const node::PullProgress& progress) {
    const std::string digest =
        progress.sha256.empty() ? progress.file : progress.sha256.substr(0, kShortDigest);
    Json line = {{"status", "pulling " + digest},
                 {"digest", progress.sha256.empty() ? progress.file : "sha256:" + progress.sha256},
                 {"total", progress.total}};
    if (progress.completed > 0) line["completed"] = progress.completed;
    return Dump(line) + "\n";
  }

  const bool stream_;
  bool begun_ = false;
  std::string verified_;  // the digest that was told to be verified
};

}  // namespace

Parsed<Action> ReadPull(node::Api& api, const HttpRequest& request) {
  const Json body = TRY(ParseBody(request.body));
  const std::string model = TRY(ReadName(body));
  const bool stream = TRY(ReadBool(body, "stream")).value_or(true);
  // Every byte is checked and comes by TLS, whatever a client would put up with.
  TRY(ReadBool(body, "insecure"));
  return PullModel(api, model, std::make_unique<LinesOfPull>(stream));
}

}  // namespace exo::service::ollama
