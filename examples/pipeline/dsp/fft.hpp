// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "error.hpp"

#include <fftw3.h>

#include <algorithm>
#include <climits>
#include <cstddef>
#include <memory>
#include <mutex>
#include <span>
#include <string>
#include <type_traits>

namespace pipeline {

namespace detail {

/// FFTW may execute plans from many threads, but makes and destroys them through one unguarded table.
inline std::mutex& fft_planner() {
  static std::mutex guard;
  return guard;
}

struct fft_memory_free {
  void operator()(float* memory) const noexcept { fftwf_free(memory); }
};

struct fft_plan_free {
  void operator()(fftwf_plan plan) const noexcept {
    const std::lock_guard lock(fft_planner());
    fftwf_destroy_plan(plan);
  }
};

using fft_memory = std::unique_ptr<float, fft_memory_free>;
using fft_plan = std::unique_ptr<std::remove_pointer_t<fftwf_plan>, fft_plan_free>;

}  // namespace detail

/// A real Fourier transform of one fixed size with its two work buffers (aligned for the vector unit).
///
/// Fill `time()` and call `forward()`, or fill `spectrum()` and call `inverse()`. Neither direction is scaled: forward
/// then inverse multiplies by `size()`. `inverse()` leaves `spectrum()` undefined, `forward()` keeps `time()`.
/// The spans are valid as long as the object, also after a move. One object must not be used by two threads at once.
///
/// The plan is chosen by rule (FFTW_ESTIMATE), not by measuring, so the same input gives the same bits in every run.
class real_fft {
 public:
  /// Throws `dsp_error` for size 0 or one that FFTW cannot plan.
  explicit real_fft(std::size_t size) : size_(size) {
    if (size == 0 || size > INT_MAX) {
      throw dsp_error("fft: a transform of " + std::to_string(size) + " points is not possible");
    }
    time_.reset(fftwf_alloc_real(size));
    spectrum_.reset(fftwf_alloc_real(2 * bins()));
    if (!time_ || !spectrum_) {
      throw dsp_error("fft: no memory for a transform of " + std::to_string(size) + " points");
    }
    std::ranges::fill(time(), 0.0F);
    std::ranges::fill(spectrum(), 0.0F);
    auto* const complex = reinterpret_cast<fftwf_complex*>(spectrum_.get());
    const int n = static_cast<int>(size);
    {
      const std::lock_guard lock(detail::fft_planner());
      forward_.reset(fftwf_plan_dft_r2c_1d(n, time_.get(), complex, FFTW_ESTIMATE | FFTW_PRESERVE_INPUT));
      inverse_.reset(fftwf_plan_dft_c2r_1d(n, complex, time_.get(), FFTW_ESTIMATE));
    }
    if (!forward_ || !inverse_) {
      throw dsp_error("fft: FFTW has no plan for " + std::to_string(size) + " points");
    }
  }

  [[nodiscard]] std::size_t size() const noexcept { return size_; }
  [[nodiscard]] std::size_t bins() const noexcept { return size_ / 2 + 1; }

  /// `size()` samples.
  [[nodiscard]] std::span<float> time() noexcept { return {time_.get(), size_}; }
  /// `bins()` pairs of real and imaginary part.
  [[nodiscard]] std::span<float> spectrum() noexcept { return {spectrum_.get(), 2 * bins()}; }

  void forward() noexcept { fftwf_execute(forward_.get()); }
  void inverse() noexcept { fftwf_execute(inverse_.get()); }

 private:
  std::size_t size_;
  detail::fft_memory time_;
  detail::fft_memory spectrum_;
  detail::fft_plan forward_;
  detail::fft_plan inverse_;
};

}  // namespace pipeline
