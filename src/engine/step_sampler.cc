#include "engine/step_sampler.h"

#include <algorithm>
#include <cmath>
#include <deque>

#include "base/check.h"
#include "engine/readout.h"

namespace exo::engine {
namespace {

constexpr size_t kMostForced = 64;  // in one step; its rows are computed together in the next one

// Of the rows of an item, how many logits decide.
uint32_t NeededFor(const LeadMachine& lead, const LeadItem& item) {
  if (item.readout == wire::Readout::kLogits) return backend::kAllLogits;
  const auto view = lead.Find(item.request);
  return view ? LogitsNeeded(*view->sampler, view->mask) : 1;
}

bool IsOfStates(const LeadItem& item) {
  return item.readout == wire::Readout::kLast || item.readout == wire::Readout::kMean;
}

}  // namespace

// Each time the whole output matrix is read.
Result<std::span<float>> StepSampler::LogitRows::Of(size_t row) {
  CHECK(row < total);
  if (row < first || row >= first + count) {
    first = row;
    count = std::min(backend::kLogitRows, total - row);
    values = TRY(running->Logits(first, count, best));
  }
  const size_t vocab = values.size() / count;
  return values.subspan((row - first) * vocab, vocab);
}

// The tokens that follow the item's output rows: a draft behind a row stands as long as it is what
// is sampled there.
Result<void> StepSampler::SampleRows(const LeadMachine::View& view, Work& work, LogitRows& logits,
                                     SamplerScratch& scratch) const {
  const LeadItem& item = *work.item;
  ItemOutput& output = work.output;
  wire::SamplerState state = *view.state;
  std::vector<TokenId> history;  // only with drafts
  std::span<const TokenId> tokens = view.tokens;
  const size_t skipped = item.tokens.size() - OutputRows(item);
  for (size_t i = 0; skipped + i < item.tokens.size(); ++i) {
    if (i == 1) history.assign(view.tokens.begin(), view.tokens.end());
    if (i > 0) {
      history.push_back(output.tokens.back());
      tokens = history;
    }
    auto sampled = SampleNext(TRY(logits.Of(work.row + i)),
                              {.history = tokens,
                               .settings = *view.sampler,
                               .position = tokens.size(),
                               .state = state,
                               .mask = view.mask},
                              scratch);
    if (!sampled) {
      work.failed = sampled.error();
      output.tokens.push_back(0);
      return {};
    }
    output.tokens.push_back(recorded_ != nullptr ? (*recorded_)[tokens.size()] : sampled->token);
    Append(output.logprobs, sampled->logprobs);
    output.state = state = std::move(sampled->state);
    const size_t next = skipped + i + 1;
    if (next < item.tokens.size() && output.tokens.back() != item.tokens[next]) break;
  }
  return {};
}

// Tokens that must come are not computed; with logprobs they are, since those are asked for.
void StepSampler::AddForced(const LeadMachine::View& view, ItemOutput& output) {
  std::vector<uint8_t>& place = output.state.grammar;
  while (!view.sampler->logprobs && output.forced.size() < kMostForced) {
    const auto only = view.mask->Only(place);
    if (!only) break;
    output.forced.push_back(*only);
    place = view.mask->Next(place, *only);
  }
  output.ended = view.mask->Ended(place);
  if (!output.ended) view.mask->Expect(place);
}

Result<void> StepSampler::SampleItem(const LeadMachine& lead, Work& work, LogitRows& logits,
                                     SamplerScratch& scratch) const {
  const auto view = lead.Find(work.item->request);
  CHECK(view.has_value());  // of others nothing is sampled
  if (work.item->readout == wire::Readout::kLogits) {
    const auto row = TRY(logits.Of(work.row));
    return TakeValues(row, view->read_tokens, work);
  }
  TRY(SampleRows(*view, work, logits, scratch));
  if (view->mask != nullptr && !work.failed) AddForced(*view, work.output);
  return {};
}

// Of `row`, what stands at `indices`; all of it without any.
Result<void> StepSampler::TakeValues(std::span<const float> row, std::span<const TokenId> indices,
                                     Work& work) {
  std::vector<float>& values = work.output.values;
  values.assign(row.begin(), row.end());
  if (!indices.empty()) {
    values.clear();
    for (const TokenId index : indices) {
      if (index < 0 || static_cast<size_t>(index) >= row.size()) {
        work.failed = Error{ErrorCode::kInvalid, fmt::format("there is no token {}", index)};
        return {};
      }
      values.push_back(row[static_cast<size_t>(index)]);
    }
  }
  if (!std::ranges::all_of(values, [](float value) { return std::isfinite(value); }))
    work.failed = Error{ErrorCode::kCorrupt, "the model computed no number for this text"};
  return {};
}

// States: nothing is multiplied with the output matrix.
Result<void> StepSampler::ReadStates(const LeadMachine& lead, Work& work,
                                     backend::Running& running) {
  const auto view = lead.Find(work.item->request);
  CHECK(view.has_value());
  const size_t rows = OutputRows(*work.item);
  work.output.sum.assign(view->sum.begin(), view->sum.end());
  for (size_t first = 0; first < rows; first += backend::kLogitRows) {
    const size_t count = std::min(backend::kLogitRows, rows - first);
    const auto states = TRY(running.States(work.row + first, count));
    const size_t width = states.size() / count;
    if (work.item->readout == wire::Readout::kLast) return TakeValues(states, {}, work);
    for (size_t i = 0; i < count; ++i) AddState(work.output.sum, states.subspan(i * width, width));
  }
  if (!std::ranges::all_of(work.output.sum, [](double value) { return std::isfinite(value); }))
    work.failed = Error{ErrorCode::kCorrupt, "the model computed no number for this text"};
  return {};
}

Result<StepSampler::Outputs> StepSampler::Sample(const LeadMachine& lead, const LeadStep& step,
                                                 std::span<const RequestId> cancelled,
                                                 backend::StageCompute& stage,
                                                 backend::Running* running) {
  LogitRows logits{.running = running};
  std::deque<Work> all, states, stale;
  std::vector<Work*> order;  // as in the step
  for (size_t i = 0; i < step.items.size(); ++i) {
    const LeadItem& item = step.items[i];
    if (OutputRows(item) == 0 || std::ranges::find(cancelled, item.request) != cancelled.end())
      continue;
    Work work{.item = &item, .row = logits.total, .output = {.request = item.request}};
    logits.total += OutputRows(item);
    const bool nobody_reads = lead.IsStale(step.step, i);
    if (nobody_reads && item.readout == wire::Readout::kNone) work.output.tokens.assign(1, 0);
    auto& kind = nobody_reads ? stale : IsOfStates(item) ? states : all;
    order.push_back(&kind.emplace_back(std::move(work)));
  }
  CHECK(order.size() == stale.size() || running != nullptr);
  for (Work& work : states) TRY(ReadStates(lead, work, *running));
  for (size_t begin = 0, end = 0; begin < all.size(); begin = end) {
    // Those whose rows lie at hand together; one that has too many is alone and asks as it goes.
    const size_t first = all[begin].row;
    bool some_need_all = false;
    logits.best = 0;
    for (end = begin; end < all.size(); ++end) {
      const size_t rows = all[end].row + OutputRows(*all[end].item) - first;
      if (end > begin && rows > backend::kLogitRows) break;
      const uint32_t needed = NeededFor(lead, *all[end].item);
      some_need_all |= needed == backend::kAllLogits;
      logits.best = std::max(logits.best, needed);
    }
    if (some_need_all) logits.best = backend::kAllLogits;
    scratches_.resize(std::max(scratches_.size(), end - begin));
    TRY(logits.Of(first));
    stage.ForEach(end - begin, [&](size_t i) {
      Work& work = all[begin + i];
      work.result = SampleItem(lead, work, logits, scratches_[i]);
    });
  }
  Outputs outputs;
  for (Work* work : order) {
    TRY(std::move(work->result));
    if (work->failed) outputs.failures.push_back({work->item->request, *work->failed});
    outputs.items.push_back(std::move(work->output));
  }
  return outputs;
}

}  // namespace exo::engine
