// SPDX-License-Identifier: Apache-2.0
// omniconn-part: mooncake
// What we send to a Mooncake master is, byte for byte, what its own client sends; what it answers is read, and nothing else is.
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <string>
#include <vector>

#include <gtest/gtest.h>

#include <omniconn/transport/mooncake/store/place.hpp>

#include "recorded.hpp"

namespace {

using namespace mooncake_test;

uuid id_at(const_bytes body, std::size_t at) {
  uuid out{};
  std::memcpy(out.data(), body.data() + at, out.size());
  return out;
}
/// The client of the recording: the first value of a put.
caller client_of(frame const& put_start) { return {id_at(put_start.body(), 4 + 1 + types::put_start.text().size() + 1), "default"}; }

void expect_same(rpc_request ours, frame const& theirs) {
  auto const bytes = ours.finish(theirs.number());
  EXPECT_TRUE(std::equal(bytes.begin(), bytes.end(), theirs.bytes.begin(), theirs.bytes.end()));
}

TEST(mooncake_protocol, functions_are_named_by_md5) {
  EXPECT_EQ(md5_head(""), 0xd41d8cd9U);
  EXPECT_EQ(md5_head("abc"), 0x90015098U);
  EXPECT_EQ(md5_head("message ", "digest"), 0xf96b697dU);
  EXPECT_EQ(md5_head("12345678901234567890123456789012345678901234567890123456789012345678901234567890"), 0x57edf4a2U);
  static_assert(function_of("PutStart") == 0x65ea9ac1U);
}

TEST(mooncake_protocol, our_requests_are_those_of_the_release) {
  auto const all = recorded("rpc.cap");
  auto const starts = requests_of(all, "PutStart");
  ASSERT_EQ(starts.size(), 1U);
  caller const client = client_of(starts[0]);
  expect_same(service_ready(), requests_of(all, "ServiceReady").at(0));
  expect_same(put_start(client, "capkey", 5000, {}), starts[0]);
  expect_same(put_end(client, "capkey"), requests_of(all, "PutEnd").at(0));
  expect_same(exist_key(client, "capkey"), requests_of(all, "ExistKey").at(0));
  expect_same(exist_key(client, "nonexist"), requests_of(all, "ExistKey").at(1));
  expect_same(get_replica_list(client, "capkey"), requests_of(all, "GetReplicaList").at(0));
  expect_same(omniconn::detail::mooncake::remove(client, "capkey", true), requests_of(all, "Remove").at(0));
}

TEST(mooncake_protocol, replacing_is_a_call_of_its_own) {
  auto const all = recorded("upsert.cap");
  caller const client = client_of(requests_of(all, "PutStart").at(0));
  auto const starts = requests_of(all, "UpsertStart");
  ASSERT_EQ(starts.size(), 3U);
  expect_same(upsert_start(client, "k", 50, {}), starts[0]);
  expect_same(upsert_start(client, "k", 5, {}), starts[1]);
  expect_same(upsert_end(client, "n"), requests_of(all, "UpsertEnd").at(2));
  auto const grown = replies_to(all, "UpsertStart");
  EXPECT_EQ(read_replicas(grown.at(0).body())->at(0), read_replicas(replies_to(all, "PutStart").at(0).body())->at(0)) << "of equal size: in place";
  EXPECT_NE(read_replicas(grown.at(1).body())->at(0).address, read_replicas(grown.at(0).body())->at(0).address);
  EXPECT_TRUE(read_nothing(replies_to(all, "Remove").at(0).body()) == error_kind::peer_stalled) << "somebody has a lease";
  EXPECT_TRUE(read_replicas(replies_to(all, "PutStart").at(1).body()) == error_kind::already_exists);
}

TEST(mooncake_protocol, giving_up_a_replacement_is_a_call_of_its_own_too) {
  auto const all = recorded("upsert_revoke.cap");
  caller const client = client_of(requests_of(all, "PutStart").at(0));
  expect_same(upsert_revoke(client, "k"), requests_of(all, "UpsertRevoke").at(0));
  expect_same(put_revoke(client, "q"), requests_of(all, "PutRevoke").at(0));
  EXPECT_TRUE(read_nothing(replies_to(all, "UpsertRevoke").at(0).body()));
  EXPECT_FALSE(*read_flag(replies_to(all, "ExistKey").at(0).body())) << "the old object is gone as well";
}

TEST(mooncake_protocol, what_is_not_in_memory_is_named) {
  replica r;
  r.protocol = "tcp";
  EXPECT_TRUE(check_memory(r));
  r.protocol = "rdma";
  EXPECT_TRUE(check_memory(r) == error_kind::unsupported);
  r.protocol = "tcp";
  for (auto const& [kind, word] : {std::pair{replica::kind::nvme_of, "NVMe"}, {replica::kind::disk, "on disk"}, {replica::kind::local_disk, "local disk"}, {replica::kind::distributed_file, "file system"}}) {
    r.where = kind;
    auto const said = check_memory(r);
    ASSERT_TRUE(said == error_kind::unsupported);
    EXPECT_NE(std::string(said.error().text()).find(word), std::string::npos) << said.error().text();
  }
}

TEST(mooncake_protocol, giving_up_is_as_recorded) {
  auto const all = recorded("revoke.cap");
  auto const starts = requests_of(all, "PutStart");
  caller const client = client_of(starts.at(0));
  expect_same(put_start(client, "rvkey", 100, {}), starts[0]);
  expect_same(put_revoke(client, "rvkey"), requests_of(all, "PutRevoke").at(0));
  EXPECT_TRUE(read_nothing(replies_to(all, "PutRevoke").at(0).body()));
  auto const last = read_replicas(replies_to(all, "PutStart").back().body());
  EXPECT_TRUE(last == error_kind::no_space) << "no node is left";
  EXPECT_EQ(last.error().native(), -200);
}

TEST(mooncake_protocol, a_storage_node_says_what_the_release_s_own_does) {
  auto const all = recorded("rpc2.cap");
  auto const mount = requests_of(all, "MountSegment").at(0), ping_request = requests_of(all, "Ping").at(0);
  std::size_t const values = 4 + 1 + types::mount.text().size() + 1;
  segment s;
  s.id = id_at(mount.body(), values);
  s.name = s.endpoint = "127.0.0.1:13006";
  std::memcpy(&s.base, mount.body().data() + values + 16 + 1 + s.name.size(), sizeof s.base);
  s.size = 16U << 20U;
  uuid const client = id_at(ping_request.body(), 4 + 1 + types::ping.text().size() + 1);
  expect_same(mount_segment(s, client), mount);
  expect_same(ping(client), ping_request);
  expect_same(remount_segments(std::span(&s, 1), client), requests_of(all, "ReMountSegment").at(0));
  expect_same(unmount_segment(s.id, client), requests_of(all, "UnmountSegment").at(0));
  auto const pongs = replies_to(all, "Ping");
  EXPECT_FALSE(*read_pong(pongs.at(0).body())) << "wants the segments again";
  EXPECT_TRUE(*read_pong(pongs.at(1).body()));
}

TEST(mooncake_protocol, replies_are_read) {
  auto const all = recorded("rpc.cap");
  EXPECT_EQ(*read_text(replies_to(all, "ServiceReady").at(0).body()), "2.0.0");
  auto const room = read_replicas(replies_to(all, "PutStart").at(0).body());
  ASSERT_TRUE(room) << room.error().message();
  ASSERT_EQ(room->size(), 1U);
  EXPECT_EQ(room->front().where, replica::kind::memory);
  EXPECT_EQ(room->front().size, 5000U);
  EXPECT_EQ(room->front().protocol, "tcp");
  EXPECT_EQ(room->front().endpoint, "127.0.0.1:13001");
  EXPECT_EQ(room->front().status, replica::allocated);
  EXPECT_TRUE(*read_flag(replies_to(all, "ExistKey").at(0).body()));
  EXPECT_FALSE(*read_flag(replies_to(all, "ExistKey").at(1).body()));
  auto const found = read_found(replies_to(all, "GetReplicaList").at(0).body());
  ASSERT_TRUE(found);
  EXPECT_EQ(found->lease_ms, 10'000U);
  EXPECT_EQ(found->replicas.at(0).address, room->front().address);
  EXPECT_EQ(found->replicas.at(0).status, replica::complete);
  auto const gone = read_found(replies_to(all, "GetReplicaList").back().body());
  EXPECT_TRUE(gone == error_kind::not_found);
  EXPECT_EQ(gone.error().native(), -704);
}

TEST(mooncake_protocol, long_texts_make_all_lengths_wider) {
  auto const all = recorded("longkey.cap");
  auto const start = requests_of(all, "PutStart").at(0);
  std::string const key(300, 'k');
  caller const client = client_of(start);
  expect_same(put_start(client, key, 8, {}), start);
  expect_same(put_end(client, key), requests_of(all, "PutEnd").at(0));
  expect_same(exist_key(client, key), requests_of(all, "ExistKey").at(0));
  expect_same(get_replica_list(client, key), requests_of(all, "GetReplicaList").at(0));
}

/// Every reply of a recording that we read, with its reader.
template <class Act>
void each_reply(std::vector<frame> const& all, Act act) {
  for (auto const& r : replies_to(all, "ServiceReady")) act(r, [](const_bytes b) { return read_text(b) ? error_kind{} : read_text(b).error().kind(); });
  for (auto const& r : replies_to(all, "ExistKey")) act(r, [](const_bytes b) { return read_flag(b) ? error_kind{} : read_flag(b).error().kind(); });
  for (auto const& r : replies_to(all, "PutEnd")) act(r, [](const_bytes b) { return read_nothing(b) ? error_kind{} : read_nothing(b).error().kind(); });
  for (auto const& r : replies_to(all, "Ping")) act(r, [](const_bytes b) { return read_pong(b) ? error_kind{} : read_pong(b).error().kind(); });
  for (auto const& r : replies_to(all, "PutStart")) act(r, [](const_bytes b) { return read_replicas(b) ? error_kind{} : read_replicas(b).error().kind(); });
  for (auto const& r : replies_to(all, "GetReplicaList")) act(r, [](const_bytes b) { return read_found(b) ? error_kind{} : read_found(b).error().kind(); });
}

TEST(mooncake_protocol, a_reply_of_another_type_is_refused) {
  unsigned seen = 0;
  for (auto const* file : {"rpc.cap", "rpc2.cap", "upsert.cap"})
    each_reply(recorded(file), [&](frame const& r, auto read) {
      ++seen;
      std::vector<std::byte> bytes(r.body().begin(), r.body().end());
      std::size_t const type_end = static_cast<std::size_t>(std::find(bytes.begin() + 5, bytes.end(), std::byte{0}) - bytes.begin());
      for (std::size_t bit = 0; bit != 8 * (type_end + 1); ++bit) {
        bytes[bit / 8] ^= std::byte{1} << bit % 8;
        bool const width = bit == 8 * 4 + 3 || bit == 8 * 4 + 4;  // of lengths: another one is no other type
        if (!width) {
          EXPECT_EQ(read(bytes), bit / 8 == 4 ? error_kind::malformed : error_kind::version_mismatch) << bit;
        }
        bytes[bit / 8] ^= std::byte{1} << bit % 8;
      }
    });
  EXPECT_GT(seen, 20U);
}

TEST(mooncake_protocol, other_releases_are_told_from_ours) {
  for (auto const* file : {"rpc-0.3.11.post1.cap", "rpc-0.3.10.post2.cap"}) {
    auto const all = recorded(file);
    EXPECT_EQ(*read_text(replies_to(all, "ServiceReady").at(0).body()), "2.0.0") << "all of them say so";
    EXPECT_TRUE(read_replicas(replies_to(all, "PutStart").at(0).body()) == error_kind::version_mismatch) << file;
  }
  auto const all = recorded("rpc-0.3.11.post1.cap");
  EXPECT_TRUE(read_found(replies_to(all, "GetReplicaList").at(0).body()) == error_kind::version_mismatch);
}

TEST(mooncake_protocol, replies_that_are_cut_or_go_on_are_refused) {
  each_reply(recorded("rpc.cap"), [](frame const& r, auto read) {
    std::vector<std::byte> const whole(r.body().begin(), r.body().end());
    for (std::size_t n = 0; n != whole.size(); ++n) EXPECT_EQ(read(const_bytes(whole).first(n)), error_kind::malformed) << n;
    auto more = whole;
    more.push_back(std::byte{0});
    EXPECT_EQ(read(more), error_kind::malformed);
  });
}

TEST(mooncake_protocol, hostile_replies_read_nothing_that_is_not_there) {
  auto const r = replies_to(recorded("rpc.cap"), "GetReplicaList").at(0);
  std::vector<std::byte> bytes(r.body().begin(), r.body().end());
  std::size_t const values = 4 + 1 + types::found.text().size() + 1;
  for (std::size_t i = values; i != bytes.size(); ++i)
    for (unsigned v = 0; v != 256; ++v) {
      auto const before = std::exchange(bytes[i], static_cast<std::byte>(v));
      auto const found = read_found(bytes);
      for (auto const& one : found ? found->replicas : std::vector<replica>()) {
        EXPECT_LE(one.endpoint.size(), bytes.size());
      }
      bytes[i] = before;
    }
}

TEST(mooncake_protocol, headers_of_strangers_are_refused) {
  std::array<std::byte, reply_header> header{};
  std::memcpy(header.data(), "HTTP/1.1 400 Bad", header.size());
  EXPECT_TRUE(rpc_reply::of(header) == error_kind::malformed);
  header = {};
  header[0] = std::byte{rpc_magic};
  EXPECT_TRUE(rpc_reply::of(header)->refusal());
  header[10] = std::byte{0x11};  // over 1 MiB
  EXPECT_TRUE(rpc_reply::of(header) == error_kind::malformed);
  header[10] = {};
  header[12] = std::byte{1};  // an attachment
  EXPECT_TRUE(rpc_reply::of(header) == error_kind::malformed);
  header[12] = {};
  for (auto const& [failure, kind] : {std::pair{4, error_kind::version_mismatch}, {2, error_kind::version_mismatch}, {1, error_kind::io}, {255, error_kind::io}}) {
    header[2] = static_cast<std::byte>(failure);
    EXPECT_TRUE(rpc_reply::of(header)->refusal() == kind) << failure;
  }
}

}  // namespace
