// Hue, saturation and exposure of a pixel changed in HSV space, without a conversion to it. The
// formulas are those of yolov1/data/augmentation.py (change_colours).
#pragma once

#include <type_traits>

#include "kernels/core/simd.h"

namespace yolov1 {

template <typename A>
struct Rgb {
  A red, green, blue;
};

struct ColourChange {
  float turn = 0, saturation = 1, exposure = 1;

  YOLOV1_HOST_DEVICE bool turns() const { return turn != 0; }
  YOLOV1_HOST_DEVICE bool any() const { return turns() || saturation != 1 || exposure != 1; }
  // Whether they are numbers that mean something.
  YOLOV1_HOST_DEVICE bool sound() const {
    return fabsf(turn) < 0x1p20f && saturation >= 0 && saturation < 0x1p20f && exposure >= 0 &&
           exposure < 0x1p20f;
  }
};

template <typename A>
YOLOV1_HOST_DEVICE A UnitClip(const A& value) {
  return Lower(Higher(value, A(0)), A(1));
}

// V' = m V and S' = k S, with V the largest channel: c' = m (V - k (V - c)).
template <typename A>
YOLOV1_HOST_DEVICE Rgb<A> ChangeFactors(const ColourChange& change, const Rgb<A>& rgb) {
  const A value = Higher(Higher(rgb.red, rgb.green), rgb.blue);
  const A k(change.saturation), m(change.exposure);
  const auto one = [&](const A& c) __attribute__((always_inline)) {
    return UnitClip(m * (value - k * (value - c)));
  };
  return {one(rgb.red), one(rgb.green), one(rgb.blue)};
}

// The remainder of a number of at least 0 by 6; one just below 0 is left as it is.
template <typename A>
YOLOV1_HOST_DEVICE A Modulo6(const A& value) {
  const A sixths = value * A(1.0f / 6);  // a multiple of 6 may fall below or above: see ChangeHue
  return value - A(6) * Convert<float>(Truncate(sixths));
}

// The same, and the hue turns. V - c is the chroma times a ramp over the hue, which is
// continuous: a remainder that is off by 6 at its ends gives 0 all the same.
template <typename A>
YOLOV1_HOST_DEVICE Rgb<A> ChangeHue(const ColourChange& change, const Rgb<A>& rgb) {
  const A value = Higher(Higher(rgb.red, rgb.green), rgb.blue);
  const A chroma = value - Lower(Lower(rgb.red, rgb.green), rgb.blue);
  const A inverse = A(1) / Select(chroma > A(0), chroma, A(1));
  const A sixth = Select(value == rgb.red, (rgb.green - rgb.blue) * inverse,
                         Select(value == rgb.green, A(2) + (rgb.blue - rgb.red) * inverse,
                                A(4) + (rgb.red - rgb.green) * inverse));
  const A turn(6 * (change.turn - floorf(change.turn)));
  const A k(change.saturation), m(change.exposure);
  const auto one = [&](float offset) __attribute__((always_inline)) {
    const A ramp = Modulo6(sixth + turn + A(offset));
    const A difference = chroma * UnitClip(Lower(ramp, A(4) - ramp));
    return UnitClip(m * (value - k * difference));
  };
  return {one(5), one(3), one(1)};
}

// What there is to change, known when compiling.
enum class Change { kNone, kFactors, kHue };

template <Change change, typename A>
YOLOV1_HOST_DEVICE Rgb<A> Changed(const ColourChange& colour, const Rgb<A>& rgb) {
  if constexpr (change == Change::kHue) return ChangeHue(colour, rgb);
  if constexpr (change == Change::kFactors) return ChangeFactors(colour, rgb);
  return rgb;
}

template <typename A>
YOLOV1_HOST_DEVICE Rgb<A> ChangeColour(const ColourChange& colour, const Rgb<A>& rgb) {
  if (colour.turns()) return ChangeHue(colour, rgb);
  return colour.any() ? ChangeFactors(colour, rgb) : rgb;
}

// Calls function(c), where decltype(c)::value is the Change that it is.
YOLOV1_CALLS_EITHER
template <typename Function>
YOLOV1_HOST_DEVICE void WithChange(const ColourChange& colour, const Function& function) {
  if (colour.turns())
    function(std::integral_constant<Change, Change::kHue>());
  else if (colour.any())
    function(std::integral_constant<Change, Change::kFactors>());
  else
    function(std::integral_constant<Change, Change::kNone>());
}

}  // namespace yolov1
