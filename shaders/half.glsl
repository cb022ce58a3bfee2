// Numbers stored in 16 bits, widened as the device does it: fast, and exact but for subnormals, which it may take for 0. Conversions that must
// be exact are f16.glsl's.
#extension GL_EXT_shader_16bit_storage : require

layout(buffer_reference, std430, buffer_reference_align = 2) buffer F16 {
    float16_t at[];
};
