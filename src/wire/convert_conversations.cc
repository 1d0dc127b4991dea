// Conversations, from member to member.
#include "wire/convert.h"

namespace exo::wire::internal {
namespace {

Offset<fb::RowVersion> WriteVersion(Builder& b, const RowVersion& value) {
  return fb::CreateRowVersion(b, value.number, value.key.owner, Fb(value.key.conversation),
                              Fb(value.key.message), value.updated_ms, Fb(value.device),
                              value.deleted, value.cleared_ms);
}
void ReadVersion(Reader& r, const fb::RowVersion& from, RowVersion& to) {
  to.number = from.number();
  to.key.owner = from.owner();
  r.Id(from.conversation(), to.key.conversation);
  r.Id(from.message(), to.key.message);
  to.updated_ms = from.updated_ms();
  r.Id(from.device(), to.device);
  to.deleted = from.deleted();
  to.cleared_ms = from.cleared_ms();
  if (to.updated_ms > kMaxWallMs) r.Break("updated_ms");
  // A deletion is an update.
  const bool is_conversation = to.key.message.IsZero();
  if (to.cleared_ms > (is_conversation ? to.updated_ms : 0)) r.Break("cleared_ms");
}

}  // namespace

Offset<fb::ConversationNews> Write(Builder& b, const ConversationNews& value) {
  return fb::CreateConversationNews(b, value.epoch, value.last);
}
void Read(Reader&, const fb::ConversationNews& from, ConversationNews& to) {
  to.epoch = from.epoch();
  to.last = from.last();
}

Offset<fb::ConversationPull> Write(Builder& b, const ConversationPull& value) {
  return fb::CreateConversationPull(b, value.epoch, value.after, Scalars(b, value.rows));
}
void Read(Reader& r, const fb::ConversationPull& from, ConversationPull& to) {
  to.epoch = from.epoch();
  to.after = from.after();
  r.Scalars(from.rows(), to.rows, "rows", kMaxRowVersions);
}

Offset<fb::ConversationVersions> Write(Builder& b, const ConversationVersions& value) {
  const auto versions = Tables<fb::RowVersion>(b, value.versions, kMaxRowVersions, WriteVersion);
  return fb::CreateConversationVersions(b, value.epoch, value.after, value.through, value.last,
                                        versions);
}
void Read(Reader& r, const fb::ConversationVersions& from, ConversationVersions& to) {
  to.epoch = from.epoch();
  to.after = from.after();
  to.through = from.through();
  to.last = from.last();
  r.List(from.versions(), to.versions, "versions", kMaxRowVersions,
         [&](const fb::RowVersion& one, RowVersion& value) { ReadVersion(r, one, value); });
}

Offset<fb::ConversationRows> Write(Builder& b, const ConversationRows& value) {
  const auto write = [](Builder& builder, const ConversationRow& row) {
    const auto version = WriteVersion(builder, row.version);
    const auto text = Text(builder, row.text, kMaxRowBytes);
    const auto data = Text(builder, row.data, kMaxRowBytes);
    return fb::CreateConversationRow(builder, version, text, data);
  };
  const auto rows = Tables<fb::ConversationRow>(b, value.rows, kMaxRowVersions, write);
  return fb::CreateConversationRows(b, value.epoch, value.through, rows);
}
void Read(Reader& r, const fb::ConversationRows& from, ConversationRows& to) {
  to.epoch = from.epoch();
  to.through = from.through();
  r.List(from.rows(), to.rows, "rows", kMaxRowVersions,
         [&](const fb::ConversationRow& one, ConversationRow& row) {
           if (one.version() == nullptr) return r.Break("version");
           ReadVersion(r, *one.version(), row.version);
           r.Text(one.text(), row.text, "text", kMaxRowBytes);
           r.Text(one.data(), row.data, "data", kMaxRowBytes);
           if (row.text.size() + row.data.size() > kMaxRowBytes) r.Break("data");
         });
}

}  // namespace exo::wire::internal
