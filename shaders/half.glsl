// Numbers stored in 16 bits; arithmetic is f32's.
#extension GL_EXT_shader_16bit_storage : require

layout(buffer_reference, std430, buffer_reference_align = 2) buffer F16 {
    float16_t at[];
};
