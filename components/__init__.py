"""The steps, in the order an image passes them, then what they share.

1. csv_ingestion    a CSV row becomes a tf.Example, or
   image_ingestion  patches of an image file do; `ingestion` is the choice
2. data_validation  Examples are held against the schema
3. transform        Examples become clean and noisy images
4. tuning           better settings are looked for
5. training         images become a model
6. export           the model becomes a SavedModel
7. evaluation       its quality is measured, and blessed or not
8. serving_check    it is loaded and called as a server would
9. push             it becomes a version of the served folder
10. classifier      a small classifier shows what denoised images are worth
11. report          one HTML page on all of it

`noise`, `models` and `filters` are registries: a new one is a new file. `image` is one image,
`page` an HTML page, `base` what everything stands on and what stands on nothing of ours.
"""
