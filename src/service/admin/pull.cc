#include "service/admin/pull.h"

#include "service/admin/errors.h"
#include "service/fields.h"
#include "service/json.h"
#include "service/pull_answer.h"

namespace exo::service::admin {
namespace {

constexpr size_t kMaxReference = 2048;

const char* StepName(node::PullProgress::Step step) {
  constexpr const char* kNames[] = {"manifest", "file", "verifying", "placing"};
  return kNames[static_cast<size_t>(step)];
}

std::string EventOf(const Json& data) {
  return "data: " + Dump(data) + "\n\n";
}

}  // namespace

Json ProgressJson(const node::PullProgress& progress) {
  Json json = {{"step", StepName(progress.step)},
               {"file", progress.file},
               {"sha256", progress.sha256},
               {"completed", progress.completed},
               {"total", progress.total},
               {"bytes_per_second", progress.bytes_per_second},
               {"seconds_left", progress.seconds_left}};
  if (progress.silent_seconds > 0) json["silent_seconds"] = progress.silent_seconds;
  if (!progress.note.empty()) json["note"] = progress.note;
  return json;
}

namespace {

class EventsOfPull final : public PullEncoder {
 public:
  std::optional<StreamFormat> format() const override { return kServerSentEvents; }

  std::string Add(const node::PullProgress& progress) override {
    return EventOf(ProgressJson(progress));
  }
  std::string Done(const std::string& name) override {
    return EventOf({{"step", "done"}, {"model", name}}) + "data: [DONE]\n\n";
  }
  std::string FailMidStream(const ApiError& error) override {
    return EventOf(
        {{"error", {{"message", error.message}, {"code", error.code}, {"status", error.status}}}});
  }
  HttpResponse Fail(const ApiError& error) override { return ErrorResponse(error); }
};

}  // namespace

Route PullRoute(node::Api& api) {
  return {.method = "POST",
          .path = "/v1/internal/pull",
          .read = [&api](const HttpRequest& request) -> Parsed<Action> {
            auto json = ParseJson(request.body);
            if (!json)
              return std::unexpected(ApiError{400, json.error().message, "", "invalid_json"});
            if (!json->is_object())
              return std::unexpected(
                  ApiError{400, "the body must be a JSON object", "", "invalid_json"});
            return PullModel(api, TRY(ReadRequiredString(*json, "model", kMaxReference)),
                             std::make_unique<EventsOfPull>());
          },
          .listed = false};
}

}  // namespace exo::service::admin
