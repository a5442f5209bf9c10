// SPDX-License-Identifier: Apache-2.0
#include <omniconn/core/buffer.hpp>

#include <gtest/gtest.h>

#include <memory>
#include <string>
#include <vector>

using namespace omniconn;

namespace {

std::string joined(gather_list const& list) {
  std::string out;
  for (auto const& part : list.parts()) out += text_of(part);
  return out;
}

TEST(blob, borrows_shares_or_copies) {
  std::string const text = "some bytes";
  auto const borrowed = blob::borrow(bytes_of(text));
  EXPECT_EQ(borrowed.bytes().data(), bytes_of(text).data());
  EXPECT_FALSE(borrowed.owns());

  auto const copied = blob::copy(bytes_of(text));
  EXPECT_TRUE(copied.owns());
  EXPECT_NE(copied.bytes().data(), borrowed.bytes().data());
  EXPECT_EQ(copied, borrowed);

  auto const same = blob(copied);
  EXPECT_EQ(same.bytes().data(), copied.bytes().data()) << "copying a blob copies no bytes";

  auto owner = std::make_shared<std::string>("shared");
  std::weak_ptr<std::string> const alive = owner;
  auto shared = blob::share(bytes_of(*owner), owner);
  owner.reset();
  EXPECT_FALSE(alive.expired());
  EXPECT_EQ(text_of(shared.bytes()), "shared");
  shared = blob();
  EXPECT_TRUE(alive.expired());
}

TEST(blob, owned_copies_only_what_is_borrowed) {
  std::string const text = "x";
  auto const copied = blob::copy(bytes_of(text));
  EXPECT_EQ(copied.owned().bytes().data(), copied.bytes().data());
  auto const borrowed = blob::borrow(bytes_of(text));
  EXPECT_NE(borrowed.owned().bytes().data(), borrowed.bytes().data());
  EXPECT_TRUE(borrowed.owned().owns());
}

TEST(blob, empty_ones_are_equal_and_own_nothing) {
  EXPECT_EQ(blob(), blob::copy({}));
  EXPECT_EQ(blob(), blob::borrow(bytes_of(std::string_view(""))));
  EXPECT_TRUE(blob().owns());
  EXPECT_FALSE(blob() == blob::copy(bytes_of(std::string_view("a"))));
  EXPECT_FALSE(blob::copy(bytes_of(std::string_view("b"))) == blob::copy(bytes_of(std::string_view("a"))));
}

TEST(gather_list, starts_empty) {
  gather_list const list;
  EXPECT_EQ(list.size(), 0U);
  EXPECT_TRUE(list.parts().empty());
}

TEST(gather_list, one_reference_is_one_piece_of_the_source) {
  std::string const text = "payload";
  gather_list list;
  list.reference(bytes_of(text));
  ASSERT_EQ(list.parts().size(), 1U);
  EXPECT_EQ(list.parts()[0].data(), bytes_of(text).data());
  EXPECT_EQ(list.size(), 7U);
  EXPECT_EQ(total_size(list.parts()), 7U);
}

TEST(gather_list, keeps_order_and_copies_what_it_is_told_to) {
  std::string const big = "BIG";
  gather_list list;
  {
    std::string gone = "head:";
    list.copy(bytes_of(gone));
    gone.assign("xxxxx");
  }
  list.reference(bytes_of(big));
  list.copy(bytes_of(std::string_view(",")));
  list.copy(bytes_of(std::string_view("tail")));
  EXPECT_EQ(joined(list), "head:BIG,tail");
  EXPECT_EQ(list.parts().size(), 3U) << "copies side by side are one piece";
  EXPECT_EQ(list.size(), 13U);
}

TEST(gather_list, empty_pieces_leave_no_trace) {
  gather_list list;
  list.reference({});
  list.copy({});
  list.keep(blob());
  EXPECT_TRUE(list.parts().empty());
  list.copy(bytes_of(std::string_view("a")));
  list.reference({});
  list.copy(bytes_of(std::string_view("b")));
  EXPECT_EQ(list.parts().size(), 1U);
  EXPECT_EQ(joined(list), "ab");
}

TEST(gather_list, keeps_owners_alive) {
  auto owner = std::make_shared<std::string>("kept");
  std::weak_ptr<std::string> const alive = owner;
  {
    gather_list list;
    list.keep(blob::share(bytes_of(*owner), owner));
    owner.reset();
    EXPECT_EQ(joined(list), "kept");
    EXPECT_FALSE(alive.expired());
  }
  EXPECT_TRUE(alive.expired());
}

// Many copies, across the borders of the scratch memory, with references in between: nothing moves once it is in.
TEST(gather_list, many_pieces_of_any_size_stay_in_place) {
  std::string expected, source;
  for (int i = 0; i != 3000; ++i) source += static_cast<char>('a' + i % 26);
  gather_list list;
  for (std::size_t i = 0; i != 400; ++i) {
    auto const piece = std::string_view(source).substr(i, (i * 37) % 1500);
    expected += piece;
    if (i % 3 == 0) {
      list.reference(bytes_of(piece));
    } else {
      list.copy(bytes_of(piece));
    }
  }
  EXPECT_EQ(joined(list), expected);
  EXPECT_EQ(list.size(), expected.size());
}

}  // namespace
