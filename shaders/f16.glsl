// 16-bit floats by their bits, so that they round and keep subnormals and NaN alike on every device.
// A shader that includes it requires GL_EXT_shader_16bit_storage before.

layout(buffer_reference, std430, buffer_reference_align = 2) buffer F16 {
    uint16_t at[];
};

// The value, exactly; NaN becomes quiet.
float of_f16(uint bits) {
    uint sign = (bits & 0x8000u) << 16;
    uint size = bits & 0x7fffu;
    if (size < 0x0400u) {
        return uintBitsToFloat(sign | floatBitsToUint(float(size) * 5.9604644775390625e-8));
    }
    if (size >= 0x7c00u) {
        uint quiet = size > 0x7c00u ? 0x00400000u : 0u;
        return uintBitsToFloat(sign | 0x7f800000u | ((size & 0x03ffu) << 13) | quiet);
    }
    return uintBitsToFloat(sign | ((size << 13) + (112u << 23)));
}

// The nearest, of two as near the even one. NaN stays NaN.
uint f16_of(float x) {
    uint bits = floatBitsToUint(x);
    uint sign = (bits >> 16) & 0x8000u;
    uint size = bits & 0x7fffffffu;
    if (size > 0x7f800000u) {
        return sign | 0x7e00u | ((size >> 13) & 0x03ffu);
    }
    if (size >= 0x47800000u) {
        return sign | 0x7c00u;
    }
    if (size >= 0x38800000u) {
        // The exponent's bias changes from 127 to 15; rounding may carry into it, up to infinity.
        return sign | ((size - (112u << 23) + 0x0fffu + ((size >> 13) & 1u)) >> 13);
    }
    if (size <= 0x33000000u) {
        // At most half of the smallest; half of it is as near to 0, which is even.
        return sign;
    }
    // Subnormal: the significand shifted to units of 2^-24, by 14 to 24 places.
    uint places = 126u - (size >> 23);
    uint significand = (size & 0x007fffffu) | 0x00800000u;
    uint kept = significand >> places;
    uint lost = significand & ((1u << places) - 1u);
    uint halfway = 1u << (places - 1u);
    return sign | (kept + uint(lost > halfway || (lost == halfway && (kept & 1u) != 0)));
}
