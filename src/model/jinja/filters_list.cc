// Filters over lists and dicts.
#include <algorithm>
#include <array>

#include "model/jinja/filters.h"
#include "model/jinja/strings.h"

namespace exo::model::jinja {
namespace {

// What sorting and unique compare: strings without case unless asked.
Value Key(const Value& value, bool case_sensitive) {
  return value.text() != nullptr && !case_sensitive ? Value(ChangeCase(*value.text(), Case::kLower))
                                                    : value;
}

Result<Value> Pick(Interpreter& run, const Value& item, const Value* attribute) {
  if (attribute == nullptr || attribute->none()) return item;
  return run.Path(item, *attribute);
}

Value MakeList(std::vector<Value> items) {
  return Value(List{.items = std::move(items)});
}
Value MakePair(Value a, Value b) {
  return Value(List{.items = {std::move(a), std::move(b)}, .tuple = true});
}

Result<Value> ToList(Interpreter& run, const Value& value, const Arguments&) {
  return MakeList(TRY(run.Iterate(value)));
}

Result<Value> First(Interpreter& run, const Value& value, const Arguments&) {
  const std::vector<Value> items = TRY(run.Iterate(value));
  return items.empty() ? Value(Undefined{"first of nothing"}) : items.front();
}

Result<Value> Last(Interpreter& run, const Value& value, const Arguments&) {
  const std::vector<Value> items = TRY(run.Iterate(value));
  return items.empty() ? Value(Undefined{"last of nothing"}) : items.back();
}

Result<Value> Reverse(Interpreter& run, const Value& value, const Arguments&) {
  std::vector<Value> items = TRY(run.Iterate(value));
  std::ranges::reverse(items);
  if (value.text() == nullptr) return MakeList(std::move(items));
  Text out;
  for (const Value& item : items) out.Add(*item.text());
  return Value(std::move(out));
}

Result<Value> Join(Interpreter& run, const Value& value, const Arguments& arguments) {
  const Text separator = TRY(TextArgumentOr(arguments, 0, "d", ""));
  const Value* attribute = arguments.Find(1, "attribute");
  Text out;
  bool first = true;
  for (const Value& item : TRY(run.Iterate(value))) {
    TRY(run.ChargeBytes(separator.size()));
    if (!first) out.Add(separator);
    first = false;
    out.Add(TRY(run.Print(TRY(Pick(run, item, attribute)))));
  }
  return Value(std::move(out));
}

using Keyed = std::pair<Value, Value>;  // what is compared, the item

// A stable merge sort: comparisons may fail, and NaN makes them inconsistent, which std::sort does
// not survive.
Result<std::vector<Value>> Sorted(Interpreter& run, std::vector<Keyed> keyed, bool reverse) {
  std::vector<Keyed> merged(keyed.size());
  for (size_t width = 1; width < keyed.size(); width *= 2) {
    for (size_t begin = 0; begin < keyed.size(); begin += 2 * width) {
      const size_t middle = std::min(begin + width, keyed.size());
      const size_t end = std::min(begin + 2 * width, keyed.size());
      size_t left = begin;
      size_t right = middle;
      for (size_t out = begin; out < end; ++out) {
        bool take_right = left == middle;
        if (left < middle && right < end) {
          TRY(run.Charge(1));
          TRY(run.ChargeBytes(std::min(keyed[left].first.Weight(), keyed[right].first.Weight())));
          const int order = TRY(Compare(keyed[left].first, keyed[right].first));
          take_right = reverse ? order < 0 : order > 0;
        }
        merged[out] = std::move(keyed[take_right ? right++ : left++]);
      }
    }
    std::swap(keyed, merged);
  }
  std::vector<Value> items;
  for (auto& [key, item] : keyed) items.push_back(std::move(item));
  return items;
}

Result<Value> Sort(Interpreter& run, const Value& value, const Arguments& arguments) {
  const bool case_sensitive = BoolArgument(arguments, 1, "case_sensitive", false);
  const Value* attribute = arguments.Find(2, "attribute");
  std::vector<Keyed> keyed;
  for (Value& item : TRY(run.Iterate(value))) {
    Value key = Key(TRY(Pick(run, item, attribute)), case_sensitive);
    keyed.emplace_back(std::move(key), std::move(item));
  }
  return MakeList(TRY(Sorted(run, std::move(keyed), BoolArgument(arguments, 0, "reverse", false))));
}

Result<Value> DictSort(Interpreter& run, const Value& value, const Arguments& arguments) {
  if (value.dict() == nullptr) return TypeError("dictsort", value);
  const bool case_sensitive = BoolArgument(arguments, 0, "case_sensitive", false);
  const bool by_value = TRY(TextArgumentOr(arguments, 1, "by", "key")).bytes == "value";
  std::vector<Keyed> keyed;
  for (const auto& [key, held] : value.dict()->entries) {
    keyed.emplace_back(Key(by_value ? held : key, case_sensitive), MakePair(key, held));
  }
  return MakeList(TRY(Sorted(run, std::move(keyed), BoolArgument(arguments, 2, "reverse", false))));
}

Result<Value> Items(Interpreter& run, const Value& value, const Arguments&) {
  if (value.undefined()) return MakeList({});
  if (value.dict() == nullptr) return TypeError("items", value);
  return CallMethod(run, value, "items", {});
}

template <bool largest>
Result<Value> Extreme(Interpreter& run, const Value& value, const Arguments& arguments) {
  const bool case_sensitive = BoolArgument(arguments, 0, "case_sensitive", false);
  const Value* attribute = arguments.Find(1, "attribute");
  Value best = Undefined{"the extreme of nothing"};
  Value best_key;
  bool first = true;
  for (Value& item : TRY(run.Iterate(value))) {
    Value key = Key(TRY(Pick(run, item, attribute)), case_sensitive);
    const int order = first ? 1 : TRY(Compare(key, best_key));
    if (!first && (largest ? order <= 0 : order >= 0)) continue;
    first = false;
    best_key = std::move(key);
    best = std::move(item);
  }
  return best;
}

Result<Value> Sum(Interpreter& run, const Value& value, const Arguments& arguments) {
  const Value* attribute = arguments.Find(0, "attribute");
  const Value* start = arguments.Find(1, "start");
  Value total = start != nullptr ? *start : Value(int64_t{0});
  for (const Value& item : TRY(run.Iterate(value))) {
    total = TRY(ApplyBinary(run, "+", total, TRY(Pick(run, item, attribute))));
  }
  return total;
}

Result<Value> Unique(Interpreter& run, const Value& value, const Arguments& arguments) {
  const bool case_sensitive = BoolArgument(arguments, 0, "case_sensitive", false);
  const Value* attribute = arguments.Find(1, "attribute");
  std::vector<Value> keys;
  std::vector<Value> items;
  for (Value& item : TRY(run.Iterate(value))) {
    Value key = Key(TRY(Pick(run, item, attribute)), case_sensitive);
    bool known = false;
    TRY(run.Charge(keys.size()));
    for (const Value& other : keys) known = known || TRY(run.Same(other, key));
    if (known) continue;
    keys.push_back(std::move(key));
    items.push_back(std::move(item));
  }
  return MakeList(std::move(items));
}

Arguments Rest(const Arguments& arguments, size_t count) {
  Arguments rest = arguments;
  rest.values.erase(rest.values.begin(), rest.values.begin() + static_cast<std::ptrdiff_t>(std::min(
                                                                   count, rest.values.size())));
  return rest;
}

Result<Value> Map(Interpreter& run, const Value& value, const Arguments& arguments) {
  if (!value.Truthy()) return MakeList({});
  std::vector<Value> items = TRY(run.Iterate(value));
  const Value* attribute = arguments.Find(~size_t{0}, "attribute");
  const Value* fallback = arguments.Find(~size_t{0}, "default");
  const Text filter =
      attribute == nullptr ? TRY(TextArgumentOr(arguments, 0, "filter", "")) : Text();
  for (Value& item : items) {
    if (attribute != nullptr) {
      item = TRY(run.Path(item, *attribute));
      if (item.undefined() && fallback != nullptr) item = *fallback;
    } else {
      item = TRY(run.ApplyFilter(filter.bytes, item, Rest(arguments, 1)));
    }
  }
  return MakeList(std::move(items));
}

// select, reject, selectattr, rejectattr: items for which a test holds, or does not.
template <bool by_attribute, bool keep>
Result<Value> Select(Interpreter& run, const Value& value, const Arguments& arguments) {
  const size_t at = by_attribute ? 1 : 0;
  if (!value.Truthy()) return MakeList({});  // also of none, as in Jinja
  if (by_attribute && arguments.values.empty())
    return Fail(ErrorCode::kInvalid, "an attribute's name is missing");
  const Text test = TRY(TextArgumentOr(arguments, at, "test", ""));
  std::vector<Value> kept;
  for (Value& item : TRY(run.Iterate(value))) {
    const Value subject = by_attribute ? TRY(run.Path(item, arguments.values[0])) : item;
    const bool holds = test.size() == 0
                           ? subject.Truthy()
                           : TRY(run.ApplyTest(test.bytes, subject, Rest(arguments, at + 1)));
    if (holds == keep) kept.push_back(std::move(item));
  }
  return MakeList(std::move(kept));
}

Result<Value> Batch(Interpreter& run, const Value& value, const Arguments& arguments) {
  const int64_t size = TRY(IntegerOr(arguments.Find(0, "linecount"), 0));
  const Value* fill = arguments.Find(1, "fill_with");
  if (size < 1) return Fail(ErrorCode::kInvalid, "batches of {}", size);
  std::vector<Value> batches;
  std::vector<Value> batch;
  for (Value& item : TRY(run.Iterate(value))) {
    if (batch.size() == static_cast<size_t>(size))
      batches.push_back(MakeList(std::exchange(batch, {})));
    batch.push_back(std::move(item));
  }
  if (!batch.empty() && fill != nullptr && !fill->none()) {
    TRY(run.Charge(static_cast<uint64_t>(size)));
    batch.resize(static_cast<size_t>(size), *fill);
  }
  if (!batch.empty()) batches.push_back(MakeList(std::move(batch)));
  return MakeList(std::move(batches));
}

Result<Value> SliceFilter(Interpreter& run, const Value& value, const Arguments& arguments) {
  const int64_t count = TRY(IntegerOr(arguments.Find(0, "slices"), 0));
  const Value* fill = arguments.Find(1, "fill_with");
  if (count < 1) return Fail(ErrorCode::kInvalid, "{} slices", count);
  TRY(run.Charge(static_cast<uint64_t>(count)));
  const std::vector<Value> items = TRY(run.Iterate(value));
  const size_t slices = static_cast<size_t>(count);
  std::vector<Value> out;
  size_t at = 0;
  for (size_t i = 0; i < slices; ++i) {
    const size_t size = items.size() / slices + (i < items.size() % slices ? 1 : 0);
    std::vector<Value> part(items.begin() + static_cast<std::ptrdiff_t>(at),
                            items.begin() + static_cast<std::ptrdiff_t>(at + size));
    if (fill != nullptr && !fill->none() && i >= items.size() % slices &&
        items.size() % slices != 0)
      part.push_back(*fill);
    out.push_back(MakeList(std::move(part)));
    at += size;
  }
  return MakeList(std::move(out));
}

Result<Value> GroupBy(Interpreter& run, const Value& value, const Arguments& arguments) {
  const Value* attribute = arguments.Find(0, "attribute");
  const Value sorted =
      TRY(Sort(run, value,
               {.values = {}, .named = {{"attribute", attribute ? *attribute : Value(None{})}}}));
  std::vector<Value> groups;
  std::vector<Value> group;
  Value key;
  for (const Value& item : sorted.list()->items) {
    Value next = TRY(Pick(run, item, attribute));
    if (!group.empty() && !TRY(run.Same(key, next)))
      groups.push_back(MakePair(key, MakeList(std::exchange(group, {}))));
    key = std::move(next);
    group.push_back(item);
  }
  if (!group.empty()) groups.push_back(MakePair(key, MakeList(std::move(group))));
  return MakeList(std::move(groups));
}

constexpr std::array<FilterEntry, 20> kListFilters = {{
    {"list", ToList},
    {"first", First},
    {"last", Last},
    {"reverse", Reverse},
    {"join", Join},
    {"sort", Sort},
    {"dictsort", DictSort},
    {"items", Items},
    {"min", Extreme<false>},
    {"max", Extreme<true>},
    {"sum", Sum},
    {"unique", Unique},
    {"map", Map},
    {"select", Select<false, true>},
    {"reject", Select<false, false>},
    {"selectattr", Select<true, true>},
    {"rejectattr", Select<true, false>},
    {"batch", Batch},
    {"slice", SliceFilter},
    {"groupby", GroupBy},
}};

}  // namespace

std::span<const FilterEntry> ListFilters() {
  return kListFilters;
}

}  // namespace exo::model::jinja
