"""The main job on real systems: two Vendure shops and a Tryton with Tidegate between them, under load and under fire."""
