// SPDX-License-Identifier: Apache-2.0
// What every Allocator must do, as GoogleTest cases for yours: INSTANTIATE_TYPED_TEST_SUITE_P(mine, allocator_conformance, my_allocator).
#pragma once

#include <algorithm>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <initializer_list>
#include <iterator>
#include <limits>
#include <map>
#include <memory>
#include <new>
#include <optional>
#include <string_view>
#include <thread>
#include <utility>
#include <vector>

#include <gtest/gtest.h>

#include <omniconn/allocator/concept.hpp>
#include <omniconn/config.hpp>
#include <omniconn/core/buffer.hpp>
#include <omniconn/core/result.hpp>

OMNICONN_BEGIN_NAMESPACE

/// The options that the suite makes your model with. Specialise it to try others.
template <class A>
struct allocator_conformance_options {
  static typename A::options make() { return {}; }
};

template <class A>
class allocator_conformance : public ::testing::Test {
 protected:
  static_assert(explain_allocator<A>());

  static constexpr bool is_region = region_allocator<A>;
  static constexpr std::size_t committed = std::size_t{2} << 20;
  static constexpr std::size_t reserved = std::size_t{6} << 20;

  /// An allocator over the first `size` bytes of the region, or one that brings its own memory.
  A make(std::size_t size = committed) {
    if constexpr (is_region) {
      return A(allocator_conformance_options<A>::make(), region(), size);
    } else {
      return A(allocator_conformance_options<A>::make());
    }
  }
  std::byte* region() {
    if (memory_ == nullptr) memory_.reset(static_cast<std::byte*>(::operator new(reserved, std::align_val_t{4096})));
    return memory_.get();
  }

  struct generator {
    std::uint64_t state = 20240229;
    std::uint64_t operator()() {
      state = state * 6364136223846793005U + 1442695040888963407U;
      return state >> 24;
    }
    std::size_t below(std::size_t end) { return static_cast<std::size_t>((*this)() % end); }
    /// As many small ones as large ones.
    std::size_t size(unsigned powers) { return below(std::size_t{1} << below(powers)); }
  };

  /// What was handed out, checked byte by byte: two blocks that share a byte cannot both keep their pattern.
  class traffic {
   public:
    explicit traffic(A& allocator) : allocator_(&allocator) {}

    [[nodiscard]] std::size_t count() const { return addresses_.size(); }
    [[nodiscard]] bool take(std::size_t n) {
      auto const before = allocator_->usage();
      auto const made = allocator_->allocate(n);
      auto const after = allocator_->usage();
      if (!made) {
        EXPECT_EQ(made.error().kind(), error_kind::no_space);
        EXPECT_NE(std::string_view(made.error().text()), "") << "an error says what is wrong and how to mend it";
        EXPECT_EQ(after.blocks, before.blocks);
        EXPECT_EQ(after.used, before.used);
        EXPECT_GE(n, before.largest_free == 0 ? 0 : before.largest_free + 1) << "largest_free promised this block";
        return false;
      }
      mutable_bytes const block = made.value();
      EXPECT_NE(block.data(), nullptr);
      EXPECT_GE(block.size(), n);
      EXPECT_EQ(reinterpret_cast<std::uintptr_t>(block.data()) % block_alignment, 0U);
      EXPECT_EQ(after.blocks, before.blocks + 1);
      EXPECT_GE(after.used, before.used + n);
      EXPECT_LE(after.used, after.capacity);
      EXPECT_GE(after.high_water, after.used);
      if constexpr (is_region) {
        EXPECT_GT(after.used, before.used) << "zero bytes occupy a block, too";
      }
      entry const added{block.size(), static_cast<unsigned char>(1 + ++serial_ % 251), after.used - before.used};
      auto const [where, is_new] = blocks_.emplace(block.data(), added);
      EXPECT_TRUE(is_new) << "the same address twice";
      // Neighbours in address order must end before the block begins and begin after it ends.
      if (where != blocks_.begin()) {
        auto const previous = std::prev(where);
        EXPECT_LE(previous->first + previous->second.size, block.data());
      }
      if (auto const next = std::next(where); next != blocks_.end()) {
        EXPECT_LE(block.data() + block.size(), next->first);
      }
      std::memset(block.data(), added.pattern, block.size());
      addresses_.push_back(block.data());
      return true;
    }
    void give(std::size_t nth) {
      std::byte* const data = addresses_[nth];
      auto const where = blocks_.find(data);
      entry const block = where->second;
      EXPECT_EQ(std::find_if(data, data + block.size, [p = std::byte{block.pattern}](std::byte b) { return b != p; }), data + block.size)
          << "somebody else wrote into this block";
      auto const before = allocator_->usage();
      EXPECT_TRUE(allocator_->deallocate(data));
      auto const after = allocator_->usage();
      EXPECT_EQ(after.blocks + 1, before.blocks);
      EXPECT_EQ(after.used + block.cost, before.used) << "a block costs the same when it comes and when it goes";
      EXPECT_EQ(after.high_water, before.high_water);
      blocks_.erase(where);
      addresses_[nth] = addresses_.back();
      addresses_.pop_back();
    }
    void give_all() {
      while (!addresses_.empty()) give(addresses_.size() / 2);
    }
    [[nodiscard]] std::byte* address(std::size_t nth) const { return addresses_[nth]; }

   private:
    struct entry {
      std::size_t size;
      unsigned char pattern;
      std::uint64_t cost;
    };
    A* allocator_;
    std::map<std::byte*, entry> blocks_;
    std::vector<std::byte*> addresses_;
    unsigned serial_ = 0;
  };

  /// After everything was given back, all of it is one block again.
  static void expect_whole(A& allocator) {
    auto const usage = allocator.usage();
    EXPECT_EQ(usage.used, 0U);
    EXPECT_EQ(usage.blocks, 0U);
    if constexpr (is_region) {
      EXPECT_EQ(usage.largest_free, usage.capacity);
      auto const all = allocator.allocate(static_cast<std::size_t>(usage.capacity));
      ASSERT_TRUE(all) << all.error().text();
      EXPECT_EQ(allocator.usage().largest_free, 0U);
      EXPECT_EQ(allocator.usage().used, usage.capacity);
      EXPECT_TRUE(allocator.deallocate(all.value().data()));
    }
  }

 private:
  struct deleter {
    void operator()(std::byte* p) const { ::operator delete(p, std::align_val_t{4096}); }
  };
  std::unique_ptr<std::byte, deleter> memory_;
};

TYPED_TEST_SUITE_P(allocator_conformance);

TYPED_TEST_P(allocator_conformance, a_new_allocator_has_handed_out_nothing) {
  auto allocator = this->make();
  auto const usage = allocator.usage();
  EXPECT_EQ(usage.used, 0U);
  EXPECT_EQ(usage.blocks, 0U);
  EXPECT_EQ(usage.high_water, 0U);
  EXPECT_GT(usage.capacity, 0U);
  if constexpr (TestFixture::is_region) {
    EXPECT_EQ(usage.capacity, this->committed) << "an aligned region is used to its last byte";
  }
  this->expect_whole(allocator);
}

TYPED_TEST_P(allocator_conformance, blocks_of_every_size_are_aligned_and_apart) {
  auto allocator = this->make();
  typename TestFixture::traffic live(allocator);
  for (std::size_t n = 0; n <= 200; ++n) ASSERT_TRUE(live.take(n));
  for (std::size_t power = 256; power <= 65536; power *= 2)
    for (std::size_t const n : {power - 1, power, power + 1}) ASSERT_TRUE(live.take(n));
  live.give_all();
  this->expect_whole(allocator);
}

TYPED_TEST_P(allocator_conformance, zero_bytes_make_a_block_of_their_own) {
  auto allocator = this->make();
  auto const a = allocator.allocate(0), b = allocator.allocate(0);
  ASSERT_TRUE(a && b);
  EXPECT_NE(a.value().data(), nullptr);
  EXPECT_NE(a.value().data(), b.value().data());
  EXPECT_EQ(allocator.usage().blocks, 2U);
  EXPECT_TRUE(allocator.deallocate(a.value().data()));
  EXPECT_TRUE(allocator.deallocate(b.value().data()));
  this->expect_whole(allocator);
}

TYPED_TEST_P(allocator_conformance, random_traffic) {
  auto allocator = this->make();
  typename TestFixture::generator random;
  for (int round = 0; round != 4; ++round) {
    typename TestFixture::traffic live(allocator);
    std::size_t const target = std::size_t{20} << (2 * round);  // live blocks to swing around
    for (int step = 0; step != 3000; ++step) {
      bool const grow = random.below(2 * target) >= live.count();
      if (grow) {
        (void)live.take(random.size(18));  // a region may be full; the traffic knows whether it may say so
      } else {
        live.give(random.below(live.count()));
      }
      if (this->HasFailure()) return;  // one report is enough
    }
    live.give_all();
    this->expect_whole(allocator);
  }
}

TYPED_TEST_P(allocator_conformance, what_nothing_can_hold_is_no_space_and_the_next_one_works) {
  auto allocator = this->make();
  constexpr std::size_t top = std::numeric_limits<std::size_t>::max();
  for (std::size_t const n : {top, top - 1, top - 63, top - 64, top - 4095, top - 4096, top / 2 + 1, top / 2}) {
    auto const made = allocator.allocate(n);
    EXPECT_TRUE(made == error_kind::no_space) << n;
  }
  EXPECT_EQ(allocator.usage().blocks, 0U);
  auto const small = allocator.allocate(100);
  ASSERT_TRUE(small);
  EXPECT_TRUE(allocator.deallocate(small.value().data()));
  this->expect_whole(allocator);
}

TYPED_TEST_P(allocator_conformance, a_full_region_refuses_and_recovers) {
  if constexpr (TestFixture::is_region) {
    for (std::size_t const n : std::initializer_list<std::size_t>{0, 64, 1000, 4096, 70000, TestFixture::committed / 2}) {
      auto allocator = this->make(n <= 64 ? TestFixture::committed / 8 : TestFixture::committed);
      typename TestFixture::traffic live(allocator);
      while (live.take(n)) {
      }
      ASSERT_GT(live.count(), 0U);
      EXPECT_FALSE(live.take(n));
      live.give(live.count() / 2);
      EXPECT_TRUE(live.take(n)) << "what was given back can be had again";
      EXPECT_FALSE(live.take(n));
      live.give_all();
      this->expect_whole(allocator);
    }
  }
}

TYPED_TEST_P(allocator_conformance, largest_free_is_exact) {
  if constexpr (TestFixture::is_region) {
    auto allocator = this->make();
    typename TestFixture::traffic live(allocator);
    typename TestFixture::generator random;
    for (int step = 0; step != 1500; ++step) {
      if (random.below(3) != 0 || live.count() == 0) {
        (void)live.take(random.size(16));
      } else {
        live.give(random.below(live.count()));
      }
      if (step % 10 != 0) continue;
      auto const largest = static_cast<std::size_t>(allocator.usage().largest_free);
      EXPECT_TRUE(allocator.allocate(largest + 1) == error_kind::no_space);
      if (largest == 0) continue;
      auto const made = allocator.allocate(largest);
      ASSERT_TRUE(made) << largest << " bytes were promised";
      EXPECT_TRUE(allocator.deallocate(made.value().data()));
      EXPECT_EQ(allocator.usage().largest_free, largest);
    }
    live.give_all();
    this->expect_whole(allocator);
  }
}

TYPED_TEST_P(allocator_conformance, any_size_after_any_history) {
  if constexpr (TestFixture::is_region) {
    auto allocator = this->make(TestFixture::committed / 8);  // the smallest blocks fill it, and a model may search them one by one
    typename TestFixture::generator random;
    for (std::size_t const n : std::initializer_list<std::size_t>{1, 300, 5000, 40000}) {
      // Full of one size, given back every other one first: the most scattered state there is.
      std::vector<std::byte*> blocks;
      for (auto made = allocator.allocate(n); made; made = allocator.allocate(n)) blocks.push_back(made.value().data());
      for (std::size_t i = 0; i < blocks.size(); i += 2) ASSERT_TRUE(allocator.deallocate(blocks[i]));
      for (std::size_t i = 1; i < blocks.size(); i += 2) ASSERT_TRUE(allocator.deallocate(blocks[i]));
      this->expect_whole(allocator);
      // Then at random.
      blocks.clear();
      for (auto made = allocator.allocate(n); made; made = allocator.allocate(random.size(12))) blocks.push_back(made.value().data());
      while (!blocks.empty()) {
        std::swap(blocks[random.below(blocks.size())], blocks.back());
        ASSERT_TRUE(allocator.deallocate(blocks.back()));
        blocks.pop_back();
      }
      this->expect_whole(allocator);
    }
  }
}

TYPED_TEST_P(allocator_conformance, what_is_no_block_is_refused_and_harmless) {
  auto allocator = this->make();
  typename TestFixture::traffic live(allocator);
  for (std::size_t const n : std::initializer_list<std::size_t>{0, 1, 100, 5000, 70000}) ASSERT_TRUE(live.take(n));
  alignas(block_alignment) std::byte elsewhere[4 * block_alignment] = {};
  std::byte* volatile const foreign = elsewhere + 2 * block_alignment;  // volatile: or the compiler warns of the very mistake
  auto const before = allocator.usage();

  EXPECT_FALSE(allocator.deallocate(nullptr));
  EXPECT_FALSE(allocator.deallocate(foreign));
  for (std::size_t i = 0; i != live.count(); ++i) {
    for (std::size_t const inside : std::initializer_list<std::size_t>{1, 8, 63}) EXPECT_FALSE(allocator.deallocate(live.address(i) + inside));
  }
  auto const large = allocator.allocate(100000);
  ASSERT_TRUE(large);
  std::memset(large.value().data(), 0xff, large.value().size());
  for (std::size_t inside = block_alignment; inside < 100000; inside += block_alignment)
    ASSERT_FALSE(allocator.deallocate(large.value().data() + inside)) << "inside of a block";
  EXPECT_TRUE(allocator.deallocate(large.value().data()));

  EXPECT_EQ(allocator.usage().blocks, before.blocks);
  EXPECT_EQ(allocator.usage().used, before.used);
  live.give_all();
  this->expect_whole(allocator);
}

TYPED_TEST_P(allocator_conformance, a_region_s_double_frees_and_foreign_pointers_are_refused) {
  // A heap's freed block is not its own any more, and an address that nobody owns cannot be looked at: regions only.
  if constexpr (TestFixture::is_region) {
    auto allocator = this->make();
    typename TestFixture::traffic live(allocator);
    for (int i = 0; i != 50; ++i) ASSERT_TRUE(live.take(static_cast<std::size_t>(i) * 97));
    std::byte* const freed = live.address(20);
    live.give(20);
    std::byte* const freed_too = live.address(20);
    live.give(20);
    auto const before = allocator.usage();
    for (std::byte* const p : {freed, freed_too, freed}) EXPECT_FALSE(allocator.deallocate(p)) << "double free";
    EXPECT_FALSE(allocator.deallocate(this->region() + this->committed)) << "the end";
    EXPECT_FALSE(allocator.deallocate(this->region() + this->reserved - block_alignment)) << "behind the end";
    for (std::uintptr_t const number : {std::uintptr_t{1}, std::uintptr_t{64}, ~std::uintptr_t{0}, ~std::uintptr_t{63},
                                        reinterpret_cast<std::uintptr_t>(this->region()) - 64, std::uintptr_t{1} << 63})
      EXPECT_FALSE(allocator.deallocate(reinterpret_cast<std::byte*>(number)));  // NOLINT(performance-no-int-to-ptr)
    EXPECT_EQ(allocator.usage().blocks, before.blocks);
    EXPECT_EQ(allocator.usage().used, before.used);
    EXPECT_EQ(allocator.usage().largest_free, before.largest_free);
    live.give_all();
    this->expect_whole(allocator);
    EXPECT_FALSE(allocator.deallocate(freed));
  }
}

TYPED_TEST_P(allocator_conformance, a_region_grows) {
  if constexpr (TestFixture::is_region) {
    constexpr std::size_t step = TestFixture::committed / 4;
    auto allocator = this->make(0);
    EXPECT_EQ(allocator.usage().capacity, 0U);
    EXPECT_TRUE(allocator.allocate(1) == error_kind::no_space) << "nothing is committed yet";

    allocator.extend(step);
    EXPECT_EQ(allocator.usage().capacity, step);
    typename TestFixture::traffic live(allocator);
    ASSERT_TRUE(live.take(step / 2));
    EXPECT_FALSE(live.take(step));

    allocator.extend(2 * step);
    EXPECT_EQ(allocator.usage().capacity, 2 * step);
    EXPECT_EQ(allocator.usage().largest_free, 2 * step - step / 2) << "the new part is joined with the old free end";
    ASSERT_TRUE(live.take(step));

    allocator.extend(step);      // smaller
    allocator.extend(2 * step);  // equal
    allocator.extend(0);
    EXPECT_EQ(allocator.usage().capacity, 2 * step);

    ASSERT_TRUE(live.take(step / 2));  // full, so that the new part stands alone
    EXPECT_FALSE(live.take(1));
    allocator.extend(4 * step);
    EXPECT_EQ(allocator.usage().capacity, 4 * step);
    ASSERT_TRUE(live.take(2 * step));
    live.give_all();
    this->expect_whole(allocator);

    // Behind an end that was joined from several blocks.
    allocator.extend(TestFixture::reserved);
    EXPECT_EQ(allocator.usage().capacity, TestFixture::reserved);
    this->expect_whole(allocator);
  }
}

TYPED_TEST_P(allocator_conformance, an_unaligned_region_loses_its_edges_only) {
  if constexpr (TestFixture::is_region) {
    for (std::size_t const skew : std::initializer_list<std::size_t>{1, 8, 63, 100}) {
      TypeParam allocator(allocator_conformance_options<TypeParam>::make(), this->region() + skew, this->committed - 1);
      auto const usage = allocator.usage();
      EXPECT_GT(usage.capacity, 0U);
      EXPECT_LT(usage.capacity, this->committed);
      auto const all = allocator.allocate(static_cast<std::size_t>(usage.capacity));
      ASSERT_TRUE(all);
      EXPECT_GE(all.value().data(), this->region() + skew);
      EXPECT_LE(all.value().data() + usage.capacity, this->region() + skew + this->committed - 1);
      EXPECT_EQ(reinterpret_cast<std::uintptr_t>(all.value().data()) % block_alignment, 0U);
      EXPECT_TRUE(allocator.deallocate(all.value().data()));
      this->expect_whole(allocator);
    }
    TypeParam tiny(allocator_conformance_options<TypeParam>::make(), this->region() + 1, 62);
    EXPECT_EQ(tiny.usage().capacity, 0U);
    EXPECT_TRUE(tiny.allocate(1) == error_kind::no_space);
  }
}

TYPED_TEST_P(allocator_conformance, what_is_written_into_a_region_cannot_mislead_its_allocator) {
  if constexpr (TestFixture::is_region) {
    auto allocator = this->make();
    typename TestFixture::generator random;
    std::vector<std::byte*> blocks;
    for (int step = 0; step != 2000; ++step) {
      std::memset(this->region(), static_cast<int>(random.below(256)), this->committed / 64);
      if (random.below(2) == 0 || blocks.empty()) {
        if (auto const made = allocator.allocate(random.size(15))) blocks.push_back(made.value().data());
      } else {
        std::swap(blocks[random.below(blocks.size())], blocks.back());
        ASSERT_TRUE(allocator.deallocate(blocks.back()));
        blocks.pop_back();
      }
      if (step % 500 == 0) std::memset(this->region(), 0xff, this->committed);
    }
    std::sort(blocks.begin(), blocks.end());
    EXPECT_EQ(std::adjacent_find(blocks.begin(), blocks.end()), blocks.end());
    for (std::byte* const p : blocks) EXPECT_TRUE(allocator.deallocate(p));
    this->expect_whole(allocator);
  }
}

TYPED_TEST_P(allocator_conformance, a_moved_allocator_knows_its_blocks) {
  auto first = this->make();
  auto const made = first.allocate(1000);
  auto const other = first.allocate(10);
  ASSERT_TRUE(made && other);
  TypeParam second(std::move(first));
  EXPECT_EQ(second.usage().blocks, 2U);
  EXPECT_TRUE(second.deallocate(made.value().data()));

  TypeParam third = this->make(0);
  third = std::move(second);
  EXPECT_EQ(third.usage().blocks, 1U);
  auto const more = third.allocate(500);
  ASSERT_TRUE(more);
  EXPECT_TRUE(third.deallocate(more.value().data()));
  EXPECT_TRUE(third.deallocate(other.value().data()));
  this->expect_whole(third);
}

TYPED_TEST_P(allocator_conformance, blocks_of_a_free_allocator_outlive_it) {
  if constexpr (free_allocator<TypeParam>) {
    std::vector<std::uint64_t> tokens;
    {
      auto allocator = this->make();
      for (std::size_t n = 0; n != 100; ++n) {
        auto const made = allocator.allocate(n * 50);
        ASSERT_TRUE(made);
        std::memset(made.value().data(), 1, made.value().size());
        tokens.push_back(reinterpret_cast<std::uintptr_t>(made.value().data()));
      }
    }
    for (std::uint64_t const token : tokens) TypeParam::dispose(token);  // a leak checker sees what is missed
  }
}

TYPED_TEST_P(allocator_conformance, concurrent_allocators_serve_all_threads) {
  if constexpr (TypeParam::concurrent) {
    auto allocator = this->make();
    constexpr std::size_t threads = 4, each = 2000;
    // Every thread fills blocks and hands them to the next one, which checks and frees them.
    std::vector<std::vector<std::atomic<std::byte*>>> ways(threads);
    for (auto& way : ways) way = std::vector<std::atomic<std::byte*>>(each);
    std::atomic<int> wrong{0};
    std::vector<std::thread> workers;
    for (std::size_t me = 0; me != threads; ++me) {
      workers.emplace_back([&, me] {
        auto& incoming = ways[(me + threads - 1) % threads];
        for (std::size_t i = 0; i != each; ++i) {
          auto const made = allocator.allocate(64 + i % 500);
          if (!made) {
            ++wrong;
            return;
          }
          std::memset(made.value().data(), static_cast<int>(me), 64);
          ways[me][i].store(made.value().data(), std::memory_order_release);
          ways[me][i].notify_one();
          incoming[i].wait(nullptr, std::memory_order_acquire);
          std::byte* const got = incoming[i].load(std::memory_order_acquire);
          if (got[0] != static_cast<std::byte>((me + threads - 1) % threads) || got[63] != got[0]) ++wrong;
          if (!allocator.deallocate(got)) ++wrong;
        }
      });
    }
    for (auto& worker : workers) worker.join();
    EXPECT_EQ(wrong, 0);
    this->expect_whole(allocator);
  }
}

REGISTER_TYPED_TEST_SUITE_P(allocator_conformance, a_new_allocator_has_handed_out_nothing, blocks_of_every_size_are_aligned_and_apart,
                            zero_bytes_make_a_block_of_their_own, random_traffic,
                            what_nothing_can_hold_is_no_space_and_the_next_one_works, a_full_region_refuses_and_recovers,
                            largest_free_is_exact, any_size_after_any_history, what_is_no_block_is_refused_and_harmless,
                            a_region_s_double_frees_and_foreign_pointers_are_refused, a_region_grows,
                            an_unaligned_region_loses_its_edges_only, what_is_written_into_a_region_cannot_mislead_its_allocator,
                            a_moved_allocator_knows_its_blocks, blocks_of_a_free_allocator_outlive_it,
                            concurrent_allocators_serve_all_threads);

OMNICONN_END_NAMESPACE
