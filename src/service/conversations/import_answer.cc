#include "service/conversations/import_answer.h"

#include <utility>

#include "service/errors.h"
#include "service/json.h"

namespace exo::service::conversations {
namespace {

Json CountsJson(const node::ImportCounts& counts) {
  return {{"added", counts.added}, {"updated", counts.updated}, {"unchanged", counts.unchanged}};
}

std::string ProgressEvent(const node::ImportProgress& progress) {
  Json json = CountsJson(progress.taken);
  json["total"] = progress.total;
  return "data: " + Dump(json) + "\n\n";
}

}  // namespace

void ImportAnswer::Begin(node::Conversations& conversations, std::vector<node::ImportedRow> rows) {
  const std::weak_ptr<char> alive = alive_;
  conversations.Import(
      std::move(rows),
      [this, alive](const node::ImportProgress& progress) {
        if (alive.expired()) return false;
        OnPart(progress);
        return true;
      },
      [this, alive](const Result<node::ImportProgress>& whole) {
        if (!alive.expired()) OnDone(whole);
      });
}

void ImportAnswer::OnPart(const node::ImportProgress& progress) {
  // A slow reader misses figures that are soon old.
  if (streams_ && !paused_) Push(ProgressEvent(progress));
}

void ImportAnswer::OnDone(const Result<node::ImportProgress>& whole) {
  if (!whole && !started_) return exchange_.Send(render_(FromError(whole.error())));
  if (!streams_) return exchange_.Send({.body = Dump(CountsJson(whole->taken))});
  if (whole) {
    Push(ProgressEvent(*whole) + "data: [DONE]\n\n");
  } else {
    const HttpResponse error = render_(FromError(whole.error()));
    Push("data: " + error.body + "\n\n");
  }
  exchange_.EndStream(whole.has_value());
}

void ImportAnswer::Push(std::string_view bytes) {
  if (!std::exchange(started_, true)) exchange_.StartStream(kServerSentEvents);
  exchange_.Push(bytes);
}

}  // namespace exo::service::conversations
