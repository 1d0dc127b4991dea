#include "engine/stage_worker.h"

#include <algorithm>

#include "engine/plan_window.h"
#include "engine/stored_prefixes.h"
#include "wire/plan.h"

namespace exo::engine {
namespace {

backend::PageForm FormOf(const StageWork::Page& page) {
  return page.bare ? backend::PageForm::kBare : backend::PageForm::kWhole;
}

}  // namespace

void StageWorker::Bind(const wire::Plan& plan, const StagePages& pages) {
  pages_ = pages;
  const StageOptions options = {.plan = plan.id,
                                .context = plan.context,
                                .pages = plan.kv_pages,
                                .window = WindowOf(plan, *config_),
                                .chunk = plan.chunk,
                                .adapters = static_cast<uint32_t>(plan.adapters.size())};
  for (const uint64_t sequence : machine_.Rebind(options)) compute_->Close(sequence);
}

Result<void> StageWorker::Run(wire::Step& step, const Input& input, CancellationSet& cancelled) {
  running_.reset();
  hidden_ = {};
  work_ = TRY(machine_.BeginStep(step));
  if (work_.duplicate) return {};
  const size_t width = config_->width;
  if (input.tokens.size() * width + input.hidden.size() != size_t{work_.rows_in} * width) {
    machine_.AbortStep();
    return Fail(ErrorCode::kCorrupt, "step {} came with {} values for {} rows of {}", step.step,
                input.hidden.size(), work_.rows_in, width);
  }
  for (const RequestId& request : step.close) cancelled.Forget(request);
  for (const wire::StepTruncate& cut : step.truncate) cancelled.Forget(cut.request);
  std::vector<RequestId> running;
  for (const wire::StepItem& item : step.items) running.push_back(item.request);
  cancelled.Begin(step.step, std::move(running));
  auto result = ChangeSequences();
  if (result) result = RestorePages(step);
  if (result) result = Compute(WithoutCancelled(input), cancelled.stop());
  cancelled.End();
  for (const uint32_t item : work_.cancelled) step.items[item].cancelled = true;
  if (!result && result.error().code == ErrorCode::kCancelled) return GiveUp(step);
  if (!result) {
    machine_.AbortStep();
    return result;
  }
  machine_.CommitStep();
  return StorePages(step);
}

uint32_t StageWorker::LayersBefore(uint32_t layer, bool bare) const {
  uint32_t layers = 0;
  for (uint32_t i = 0; i < layer; ++i) layers += !bare || config_->WindowOf(i) == 0;
  return layers;
}

backend::PageStore::PageName StageWorker::NameOf(const StageWork::Page& page,
                                                 const Hash256& key) const {
  return {.key = StoredKeyOf(key, page.bare),
          .layer_begin = LayersBefore(pages_.layer_begin, page.bare),
          .layer_end = LayersBefore(pages_.layer_end, page.bare),
          .index = page.first / wire::kPagePositions};
}

std::vector<uint32_t> StageWorker::LayersOf(bool bare) const {
  std::vector<uint32_t> layers;
  for (uint32_t i = pages_.layer_begin; i < pages_.layer_end; ++i) {
    if (!bare || config_->WindowOf(i) == 0) layers.push_back(i);
  }
  return layers;
}

std::optional<backend::PageStore::SavedPage> StageWorker::FindPage(const StageWork::Page& page,
                                                                   const wire::StepPage& asked) {
  const auto name = NameOf(page, asked.key);
  if (name.layer_begin == name.layer_end)
    return backend::PageStore::SavedPage{.positions = page.count, .bytes = {}};
  if (asked.moved) return FindMoved(page, asked.request);
  if (pages_.store == nullptr) return std::nullopt;
  auto loaded = pages_.store->Load(name);
  return loaded ? std::optional(std::move(*loaded)) : std::nullopt;
}

// The stages of the former plan may have been at different steps: each layer is cut to what is
// wanted. All sizes come from other devices.
std::optional<backend::PageStore::SavedPage> StageWorker::FindMoved(const StageWork::Page& page,
                                                                    const RequestId& request) {
  if (!pages_.moved) return std::nullopt;
  const std::vector<uint32_t> layers = LayersOf(page.bare);
  const auto loaded = pages_.moved({request, page.first / wire::kPagePositions}, layers);
  if (!loaded || loaded->size() != layers.size()) return std::nullopt;
  backend::PageStore::SavedPage saved{.positions = page.count, .bytes = {}};
  for (const LayerPage& layer : *loaded) {
    if (layer.positions < page.count || layer.positions > wire::kPagePositions) return std::nullopt;
    const auto whole = compute_->SavedBytes(layer.positions, FormOf(page));
    if (!whole || layer.bytes.size() * layers.size() != *whole) return std::nullopt;
    const size_t parts = size_t{2} * config_->kv_heads;
    const size_t bytes = *compute_->SavedBytes(page.count, FormOf(page)) / layers.size() / parts;
    const size_t stride = layer.bytes.size() / parts;
    for (size_t part = 0; part < parts; ++part) {
      const auto begin = layer.bytes.begin() + static_cast<ptrdiff_t>(part * stride);
      saved.bytes.insert(saved.bytes.end(), begin, begin + static_cast<ptrdiff_t>(bytes));
    }
  }
  return saved;
}

// What is missing is the lead's to compute. Errors: those of the device, other than that the page
// is not one of this stage.
Result<bool> StageWorker::RestorePage(const StageWork::Page& page, const wire::StepPage& asked) {
  const auto saved = FindPage(page, asked);
  if (!saved) return false;
  const auto done = compute_->LoadPage(page.sequence, page.first, page.count, saved->positions,
                                       FormOf(page), saved->bytes);
  if (done) return true;
  if (done.error().code == ErrorCode::kOverloaded) return std::unexpected(done.error());
  return false;
}

Result<void> StageWorker::RestorePages(wire::Step& step) {
  for (const uint32_t index : work_.lost) step.restore[index].lost = true;
  for (const StageWork::Page& page : work_.restore) {
    wire::StepPage& asked = step.restore[page.index];
    if (machine_.IsDirty(asked.request)) {  // the page before it is lost
      asked.lost = true;
    } else if (!TRY(RestorePage(page, asked))) {
      asked.lost = true;
      machine_.LosePage(asked);
    }
  }
  return {};
}

Result<void> StageWorker::StorePages(wire::Step& step) {
  for (const uint32_t index : work_.not_taken) step.store[index].lost = true;
  for (const StageWork::Page& page : work_.store) {
    wire::StepPage& asked = step.store[page.index];
    const auto name = NameOf(page, asked.key);
    if (name.layer_begin == name.layer_end) continue;  // there is nothing to keep
    const auto bytes = compute_->SavedBytes(page.count, FormOf(page));
    const auto room = pages_.store == nullptr || !bytes ? backend::PageStore::Room::kFull
                                                        : pages_.store->Ask(name, *bytes);
    asked.lost = room == backend::PageStore::Room::kFull;
    if (room != backend::PageStore::Room::kYes) continue;
    backend::PageStore::SavedPage saved{.positions = page.count,
                                        .bytes = std::vector<std::byte>(*bytes)};
    TRY(compute_->SavePage(page.sequence, page.first, page.count, FormOf(page), saved.bytes));
    pages_.store->Save(name, std::move(saved));
  }
  return {};
}

Result<void> StageWorker::LeavePages(const PlanId& plan, MovedPages& to) {
  if (!compute_->SavedBytes(1, backend::PageForm::kWhole)) return {};
  for (const StageMachine::Left& left : machine_.Leave()) {
    const auto done = LeaveSequence(left, plan, to);
    compute_->Close(left.sequence);
    TRY(done);
  }
  return {};
}

// From the end on, since a sequence can be cut there.
Result<void> StageWorker::LeaveSequence(const StageMachine::Left& left, const PlanId& plan,
                                        MovedPages& to) {
  for (size_t index = left.whole.size(); index-- > 0;) {
    const auto first = static_cast<uint32_t>(index) * wire::kPagePositions;
    const uint32_t positions = std::min(wire::kPagePositions, left.length - first);
    const bool bare = !left.whole[index];
    const auto form = bare ? backend::PageForm::kBare : backend::PageForm::kWhole;
    const std::vector<uint32_t> layers = LayersOf(bare);
    if (layers.empty()) continue;
    std::vector<std::byte> page(*compute_->SavedBytes(positions, form));
    TRY(compute_->SavePage(left.sequence, first, positions, form, page));
    const size_t bytes = page.size() / layers.size();
    for (size_t i = 0; i < layers.size(); ++i) {
      const auto begin = page.begin() + static_cast<ptrdiff_t>(i * bytes);
      to.Put(plan, {left.request, static_cast<uint32_t>(index)}, layers[i],
             {positions, {begin, begin + static_cast<ptrdiff_t>(bytes)}});
    }
    // Where a window is gone it cannot be cut, and is closed soon.
    (void)compute_->Truncate(left.sequence, first);
  }
  return {};
}

Result<void> StageWorker::ChangeSequences() {
  for (const uint64_t sequence : work_.close) compute_->Close(sequence);
  for (const auto& cut : work_.truncate) TRY(compute_->Truncate(cut.sequence, cut.length));
  for (const auto& fork : work_.fork)
    TRY(compute_->Fork(fork.from, fork.length, fork.to, wire::kMaxContext));
  for (const StageWork::Open& open : work_.open) {
    std::vector<backend::AdapterUse> adapters;
    for (const wire::AdapterUse& use : open.adapters) adapters.push_back({use.adapter, use.scale});
    TRY(compute_->Open(open.sequence, wire::kMaxContext, adapters));
  }
  return {};
}

// The input rows that are computed. Without items that came for nothing, that is the input itself.
StageWorker::Input StageWorker::WithoutCancelled(const Input& input) {
  if (work_.rows == work_.rows_in) return input;
  const size_t width = config_->width;
  kept_tokens_.clear();
  kept_rows_.clear();
  for (const auto& segment : work_.segments) {
    if (!input.tokens.empty()) {
      const auto tokens = input.tokens.subspan(segment.row, segment.count);
      kept_tokens_.insert(kept_tokens_.end(), tokens.begin(), tokens.end());
    } else {
      const auto rows = input.hidden.subspan(segment.row * width, segment.count * width);
      kept_rows_.insert(kept_rows_.end(), rows.begin(), rows.end());
    }
  }
  return {.tokens = kept_tokens_,
          .hidden = kept_rows_,
          .wanted = input.wanted,
          .collective = input.collective};
}

Result<void> StageWorker::Compute(const Input& input, const std::atomic<bool>* cancel) {
  if (work_.segments.empty()) return {};
  std::vector<backend::Segment> segments;
  for (const auto& segment : work_.segments) {
    segments.push_back(
        {.sequence = segment.sequence, .first = segment.first, .count = segment.count});
  }
  running_ = TRY(compute_->Run({.segments = segments,
                                .tokens = input.tokens,
                                .hidden = input.hidden,
                                .output_rows = work_.output_rows,
                                .wanted = input.wanted,
                                .cancel = input.collective == nullptr ? cancel : nullptr,
                                .collective = input.collective}));
  hidden_ = TRY(running_->Wait());
  return {};
}

// The compute was interrupted: what it wrote is undefined, so it is forgotten, here and, by the
// marks in the step, at every later stage.
Result<void> StageWorker::GiveUp(wire::Step& step) {
  running_.reset();
  for (wire::StepItem& item : step.items) item.cancelled = true;
  for (wire::StepPage& page : step.store) page.lost = true;  // the lead asks again
  for (const auto& cut : machine_.CancelStep()) TRY(compute_->Truncate(cut.sequence, cut.length));
  return {};
}

}  // namespace exo::engine
