// What every kernel begins with: buffers by address, and the size of the workgroup as constant 0.
#extension GL_EXT_buffer_reference : require
#extension GL_EXT_control_flow_attributes : require

layout(local_size_x_id = 0) in;

layout(buffer_reference, std430, buffer_reference_align = 4) buffer F32 {
    float at[];
};

layout(buffer_reference, std430, buffer_reference_align = 4) buffer U32 {
    uint at[];
};
