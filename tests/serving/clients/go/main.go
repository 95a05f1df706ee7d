// A client of TF Serving in Go: asks half_plus (x/2 + 2) and the denoiser, and prints what it is
// answered, a line each.
package main

import (
	"context"
	"fmt"
	"os"
	"time"

	tensor "client/messages/tensorflow_core_framework_tensor"
	shape "client/messages/tensorflow_core_framework_tensor_shape"
	framework_types "client/messages/tensorflow_core_framework_types"
	status "client/messages/tensorflow_serving_apis_get_model_status"
	model "client/messages/tensorflow_serving_apis_model"
	predict "client/messages/tensorflow_serving_apis_predict"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	rpc "google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/wrapperspb"
)

func floats(values []float32, sizes ...int64) *tensor.TensorProto {
	dims := &shape.TensorShapeProto{}
	for _, size := range sizes {
		dims.Dim = append(dims.Dim, &shape.TensorShapeProto_Dim{Size: size})
	}
	return &tensor.TensorProto{
		Dtype: framework_types.DataType_DT_FLOAT, TensorShape: dims, FloatVal: values,
	}
}

func main() {
	connection, err := grpc.NewClient(
		os.Args[1], grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		panic(err)
	}
	defer connection.Close()
	ctx, cancel := context.WithTimeout(context.Background(), 60*time.Second)
	defer cancel()
	ask := func(name string, version int64, input string, values *tensor.TensorProto) {
		spec := &model.ModelSpec{Name: name}
		if version > 0 {
			spec.VersionChoice = &model.ModelSpec_Version{Version: wrapperspb.Int64(version)}
		}
		request := &predict.PredictRequest{
			ModelSpec: spec, Inputs: map[string]*tensor.TensorProto{input: values},
		}
		response := &predict.PredictResponse{}
		err := connection.Invoke(
			ctx, "/tensorflow.serving.PredictionService/Predict", request, response)
		if err != nil {
			fmt.Println(rpc.Code(err))
			return
		}
		for _, output := range []string{"y", "mean"} {
			if found, ok := response.Outputs[output]; ok {
				fmt.Println(response.ModelSpec.GetVersion().GetValue(), output, found.FloatVal)
			}
		}
	}
	ask("half_plus", 0, "x", floats([]float32{2, 4}, 2, 1))
	ask("denoiser", 1, "image", floats([]float32{0.5}, 2, 4, 6, 1))
	ask("denoiser", 99, "image", floats([]float32{0.5}, 2, 4, 6, 1))
	ask("denoiser", 0, "absent", floats([]float32{0.5}, 2, 4, 6, 1))
	found := &status.GetModelStatusResponse{}
	err = connection.Invoke(ctx, "/tensorflow.serving.ModelService/GetModelStatus",
		&status.GetModelStatusRequest{ModelSpec: &model.ModelSpec{Name: "half_plus"}}, found)
	if err != nil {
		panic(err)
	}
	for _, entry := range found.ModelVersionStatus {
		fmt.Println(entry.Version, entry.State)
	}
}
